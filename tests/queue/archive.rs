//! Sent mail that is archived: its records and its files, by an injected clock.

use super::*;
use futures_util::future::join_all;
use postroom::clock::Clock;
use postroom::queue::{Archive, ArchivedDay, Filter, SentMail};
use std::path::PathBuf;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A queue with an archive beside it.
struct House {
    home: Home,
    queue: Arc<RedbQueue>,
    archive: Archive,
}

impl House {
    fn new() -> House {
        let home = Home::new();
        let queue = Arc::new(home.open());
        let archive = Archive::new(home.folder.path().join("archive"), queue.clone(), home.clock.clone());
        House { home, queue, archive }
    }

    /// Delivers a message of that size and archives it.
    async fn sent(&self, size: usize) -> Message {
        let message = message(&*self.queue, &["ann@x.test"], size);
        put(&*self.queue, &message).await.unwrap();
        let claim = claim_one(&*self.queue).await;
        let archived = self.archive.keep(&claim.message, 0).await;
        assert!(archived.is_some());
        let settled = Settlement { archived, ..settlement(&*self.queue, &claim, &[Outcome::Delivered]) };
        self.queue.settle(claim, settled).await.unwrap();
        message
    }

    fn day(&self) -> PathBuf {
        let day = self.home.clock.wall().strftime("%Y-%m-%d").to_string();
        self.home.folder.path().join("archive").join(day)
    }

    fn file(&self, message: &Message) -> PathBuf {
        self.day().join(format!("{}.eml", message.id))
    }

    async fn listed(&self) -> Vec<QueueId> {
        let page = self.queue.list_sent(Filter::default(), None, 100).await.unwrap();
        page.messages.iter().map(|sent| sent.message.id).collect()
    }

    /// What a minute's maintenance does, twice: a folder that was found is looked at the next time.
    async fn purge(&self, days: u32) {
        self.archive.purge(days).await;
        self.archive.purge(days).await;
    }

    async fn warnings(&self) -> usize {
        // What was recorded before this commit is in the file after it.
        self.queue.forget_day("2000-01-01".parse().unwrap()).await.unwrap();
        let events = self.queue.events(None, 1_000).await.unwrap();
        events.iter().filter(|event| event.fact.kind == EventType::Warning).count()
    }
}

#[tokio::test]
async fn what_is_archived_leaves_the_queue_and_is_listed_newest_first_as_sent() {
    let house = House::new();
    let mut all = Vec::new();
    for size in [0, 10, CHUNK_SIZE, 2 * CHUNK_SIZE + 7] {
        let message = house.sent(size).await;
        assert!(std::fs::read(house.file(&message)).unwrap() == content(&message), "{size}");
        all.insert(0, message.id);
        house.home.clock.advance(MINUTE);
    }
    assert_eq!(house.listed().await, all);
    assert!(house.queue.list(Filter::default(), None, 10).await.unwrap().messages.is_empty());
    assert_eq!(house.queue.status().messages(), 0);
    assert!(house.queue.chunk(all[0], 0).await.is_err(), "the file alone has the content");
    let page = house.queue.list_sent(Filter::default(), None, 3).await.unwrap();
    assert_eq!((page.messages.len(), page.next), (3, Some(all[3])));
    assert_eq!(page.messages[0].message.state(), MessageState::Sent);
    assert_eq!(page.messages[0].message.recipients[0].upstream.as_deref(), Some("primary"));
    house.queue.close().await.unwrap();
    let reader = RedbQueue::open_read_only(&house.home.path()).unwrap();
    assert_eq!(reader.list_sent(&Filter::default(), page.next, 3).unwrap().messages.len(), 1);
    assert_eq!(reader.show_sent(all[2]).unwrap().message.id, all[2]);
    assert!(reader.show_sent(QueueId::fresh(1)).is_err());
}

#[tokio::test]
async fn a_message_that_is_reopened_at_the_last_moment_stays_and_is_not_listed_as_sent() {
    let house = House::new();
    put_new(&*house.queue, &["ann@x.test"]).await;
    let claim = claim_one(&*house.queue).await;
    let archived = house.archive.keep(&claim.message, 0).await;
    let settled = Settlement { archived, ..settlement(&*house.queue, &claim, &[Outcome::Deferred]) };
    house.queue.settle(claim, settled).await.unwrap();
    assert!(house.listed().await.is_empty());
    house.home.clock.advance(MINUTE);
    let claim = claim_one(&*house.queue).await;
    let archived = house.archive.keep(&claim.message, 0).await;
    let settled = Settlement { archived, ..settlement(&*house.queue, &claim, &[Outcome::Delivered]) };
    house.queue.settle(claim, settled).await.unwrap();
    assert_eq!(house.listed().await.len(), 1);
}

#[tokio::test]
async fn a_day_is_kept_as_long_as_it_is_said_and_goes_with_files_that_no_record_names() {
    let house = House::new();
    let first = house.sent(10).await;
    let folder = house.day();
    // What a crash between file and commit leaves.
    let orphan = folder.join(format!("{}.eml", QueueId::fresh(1)));
    std::fs::write(&orphan, "x").unwrap();
    house.home.clock.advance(2 * DAY);
    let second = house.sent(10).await;
    house.home.clock.advance(DAY - MINUTE);
    house.purge(3).await;
    assert_eq!(house.listed().await, [second.id, first.id]);
    house.home.clock.advance(2 * MINUTE);
    house.purge(3).await;
    assert_eq!(house.listed().await, [second.id]);
    assert!(!folder.exists());
    // With 0 what is there stays a day: it is what debug took.
    house.home.clock.advance(DAY - MINUTE);
    house.home.clock.advance(2 * MINUTE);
    house.purge(0).await;
    assert!(house.listed().await.is_empty());
    assert_eq!(house.warnings().await, 0);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_over_midnights_removes_nothing_early_and_keeps_nothing_for_ever() {
    let house = House::new();
    let before = house.sent(10).await;
    for jump in [400, -800, 401] {
        let wall = house.home.clock.wall();
        house.home.clock.set_wall(wall + jiff::SignedDuration::from_hours(24 * jump));
        house.purge(1).await;
        assert!(house.listed().await.contains(&before.id), "after {jump} days");
        house.sent(10).await;
        house.purge(1).await;
    }
    assert_eq!(house.listed().await.len(), 4);
    house.home.clock.advance(DAY + MINUTE);
    house.purge(1).await;
    assert!(house.listed().await.is_empty());
    assert_eq!(std::fs::read_dir(house.home.folder.path().join("archive")).unwrap().count(), 0);
}

#[tokio::test]
async fn foreign_files_stay_with_their_folder_and_are_said_once() {
    let house = House::new();
    let message = house.sent(10).await;
    let folder = house.day();
    for name in ["notes.txt", "message.eml", "01jd3z5t8e3w6q9y0v7n2k4m1b.eml"] {
        std::fs::write(folder.join(name), "mine").unwrap();
    }
    std::fs::create_dir(folder.join("01JD3Z5T8E3W6Q9Y0V7N2K4M1B.eml")).unwrap();
    std::fs::create_dir_all(house.home.folder.path().join("archive/by hand")).unwrap();
    house.home.clock.advance(2 * DAY);
    for _ in 0..3 {
        house.purge(1).await;
        house.home.clock.advance(2 * DAY);
    }
    assert!(house.listed().await.is_empty() && !folder.join(format!("{}.eml", message.id)).exists());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
    assert_eq!(house.warnings().await, 1);
    std::fs::remove_dir_all(&folder).unwrap();
    house.purge(1).await;
    assert_eq!(house.queue.archive_days().await.unwrap(), []);
}

/// A purge that ends between the records of a day and its files is taken up by the next one.
#[tokio::test]
async fn files_that_an_interrupted_purge_left_go_with_the_next() {
    for foreign in [false, true] {
        let house = House::new();
        let message = house.sent(10).await;
        let folder = house.day();
        if foreign {
            std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        }
        house.home.clock.advance(2 * DAY);
        let (day, _) = house.queue.archive_days().await.unwrap()[0];
        assert!(house.queue.forget_sent(day, house.queue.now()).await.unwrap());
        assert_eq!(house.queue.archive_days().await.unwrap(), [(day, ArchivedDay::Forgotten)]);
        for _ in 0..3 {
            house.purge(1).await;
        }
        assert!(!folder.join(format!("{}.eml", message.id)).exists());
        assert_eq!((folder.exists(), house.warnings().await), (foreign, usize::from(foreign)));
        if foreign {
            std::fs::remove_file(folder.join("notes.txt")).unwrap();
            house.purge(1).await;
            assert!(!folder.exists(), "an empty folder goes, too");
        }
        assert_eq!(house.queue.archive_days().await.unwrap(), []);
    }
}

/// What waits for its commit is in a folder of today, even if that day was forgotten before the clock was set back.
#[tokio::test]
async fn a_file_of_today_is_not_taken_for_one_of_a_forgotten_day() {
    let house = House::new();
    house.sent(10).await;
    let folder = house.day();
    std::fs::write(folder.join("notes.txt"), "mine").unwrap();
    house.home.clock.advance(2 * DAY);
    house.purge(1).await;
    house.home.clock.set_wall(house.home.clock.wall() - jiff::SignedDuration::from_hours(48));
    let waiting = folder.join(format!("{}.eml", QueueId::fresh(1)));
    std::fs::write(&waiting, "x").unwrap();
    house.purge(1).await;
    assert!(waiting.exists());
    house.home.clock.advance(DAY);
    house.purge(1).await;
    assert!(!waiting.exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_removed_keeps_no_other() {
    let house = House::new();
    house.sent(10).await;
    let folder = house.day();
    house.home.clock.advance(DAY);
    let second = house.sent(10).await;
    let other = house.file(&second);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "a file where a folder was").unwrap();
    house.home.clock.advance(2 * DAY);
    house.purge(1).await;
    assert!(folder.exists() && !other.exists());
}

#[tokio::test]
async fn a_message_that_is_too_big_stops_the_archive_for_no_other() {
    let house = House::new();
    let events = async || {
        let events = house.queue.events(None, 1_000).await.unwrap();
        events.into_iter().map(|event| event.fact).filter(|fact| fact.source == "Archive").collect::<Vec<_>>()
    };
    house.sent(10).await;
    // The disk has no room for that, but octets are free.
    let big = Message { size: 1 << 62, ..message(&*house.queue, &["ann@x.test"], 0) };
    assert_eq!(house.archive.keep(&big, 1).await, None);
    house.sent(10).await;
    assert_eq!(house.archive.keep(&big, 1).await, None);
    house.warnings().await;
    let said = events().await;
    assert_eq!(said.len(), 2, "nothing of a state that changes: {said:?}");
    for fact in said {
        let text = format!("message {} of 4.0 EiB is not archived: it would leave less than 1 B", big.id);
        assert!(fact.message.starts_with(&text), "{}", fact.message);
        assert_eq!((fact.code.as_str(), fact.queue_id), ("LOW_DISK", Some(big.id)));
    }
    // That much is never free.
    let small = message(&*house.queue, &["ann@x.test"], 0);
    assert_eq!(house.archive.keep(&small, u64::MAX).await, None);
    assert_eq!(house.archive.keep(&big, u64::MAX).await, None);
    house.sent(10).await;
    house.warnings().await;
    let said: Vec<String> = events().await.into_iter().skip(2).map(|fact| fact.message).collect();
    assert!(said.len() == 2 && said[0].contains("are kept free of archived mail"), "{said:?}");
    assert_eq!(said[1], "sent mail is archived again");
}

#[tokio::test]
async fn a_folder_that_somebody_has_copied_there_is_kept_as_long_as_the_others() {
    let house = House::new();
    let folder = house.home.folder.path().join("archive/2001-01-01");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{}.eml", QueueId::fresh(1))), "x").unwrap();
    house.purge(1).await;
    house.home.clock.advance(DAY - MINUTE);
    house.purge(1).await;
    assert!(folder.exists());
    house.home.clock.advance(2 * MINUTE);
    house.purge(1).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn thousands_go_in_several_commits_while_other_mail_goes_on() {
    let house = House::new();
    let messages: Vec<Message> = (0..1_100).map(|_| message(&*house.queue, &["ann@x.test"], 0)).collect();
    join_all(messages.iter().map(|message| put(&*house.queue, message))).await;
    let claims = claim(&*house.queue, 2_000).await;
    let settled = claims.into_iter().map(|claim| {
        let archived = Some(house.home.clock.wall());
        let settled = Settlement { archived, ..settlement(&*house.queue, &claim, &[Outcome::Delivered]) };
        house.queue.settle(claim, settled)
    });
    assert_eq!(join_all(settled).await.len(), 1_100);
    house.home.clock.advance(2 * DAY);
    let (day, known) = house.queue.archive_days().await.unwrap()[0];
    let before = house.queue.now();
    assert!(matches!(known, ArchivedDay::Kept { last } if last < before), "{known:?}");
    let mut forgetting = house.queue.forget_sent(day, before);
    let mut rounds = 0;
    while futures_util::poll!(&mut forgetting).is_pending() {
        put_new(&*house.queue, &["bob@x.test"]).await;
        rounds += 1;
    }
    assert!(rounds >= 2, "mail is accepted in between");
    assert!(house.listed().await.is_empty());
}

#[tokio::test]
async fn a_day_that_mail_is_filed_under_again_is_not_forgotten() {
    let house = House::new();
    house.sent(10).await;
    let (day, known) = house.queue.archive_days().await.unwrap()[0];
    let ArchivedDay::Kept { last } = known else { panic!("{known:?}") };
    house.home.clock.advance(MINUTE);
    house.sent(10).await;
    assert!(!house.queue.forget_sent(day, last).await.unwrap());
    assert_eq!(house.listed().await.len(), 2);
}

#[tokio::test]
async fn attempts_are_kept_as_long_as_anything_of_their_message_is() {
    let house = House::new();
    let record = |upstream: &str| AttemptRecord { upstream: upstream.to_owned(), ..AttemptRecord::default() };
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for archives in [true, false] {
        let id = put_new(&*house.queue, &["ann@x.test"]).await.id;
        for outcome in [Outcome::Deferred, Outcome::Delivered] {
            let claim = claim_one(&*house.queue).await;
            let archived = archives.then(|| house.home.clock.wall());
            let attempts = vec![record("a")];
            let settled = Settlement { archived, attempts, ..settlement(&*house.queue, &claim, &[outcome]) };
            house.queue.settle(claim, settled).await.unwrap();
            let known = house.queue.attempts(id).await.unwrap().len();
            match (outcome, archives) {
                (Outcome::Deferred, _) => assert_eq!(known, 1),
                (_, true) => assert_eq!(known, 2),
                (_, false) => assert_eq!(known, 0),
            }
            house.home.clock.advance(MINUTE);
        }
        if archives { kept.push(id) } else { gone.push(id) }
    }
    house.home.clock.advance(2 * DAY);
    let (day, _) = house.queue.archive_days().await.unwrap()[0];
    assert!(house.queue.forget_sent(day, house.queue.now()).await.unwrap());
    for id in kept.iter().chain(&gone) {
        assert_eq!(house.queue.attempts(*id).await.unwrap(), []);
    }
}
