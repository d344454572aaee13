//! What the queue file holds, as any bytes: reading it never panics, what is damaged is said to be, what is sound is read
//! as it was written, and the message beside it is not touched.
//!
//! An input: flags, then four records (length in two bytes, bytes): message, fact, ledger, content chunk. Flags: 1, 2,
//! 4, 8: that record has a right version and checksum in front; 16: the ledger is in the file; 32: content, too; 64: the
//! records are put into a queue file and a queue works on it, which takes its time; without it they are only decoded; 128: the
//! message is in the version that is written now, not in the first one. With a message in the first version the tables are laid
//! out as in the first format, and brought up to date when the queue opens the file.

use super::Tape;
use postroom::clock::{ManualClock, Moment};
use postroom::event::{EventType, Fact, code};
use postroom::mail::*;
use postroom::queue::redb::{Options, RedbQueue};
use postroom::queue::{ClaimGroup, ClaimRequest, Filter, MailStore, OperatorAction, Queue, QueueError};
use redb::{Builder, StorageBackend, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// The version in which messages are written; facts and the ledger are still as the first release wrote them.
const MESSAGE_VERSION: u8 = 2;
const CONTENT: &[u8] = b"Subject: sound\r\n\r\nas it came\r\n";
const EVENT: u64 = 1_000;

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let mut record = |sealed: u8, version: u8| {
        let length = usize::from(tape.byte()) | usize::from(tape.byte()) << 8;
        let body = tape.take(length).to_vec();
        if flags & sealed == 0 { body } else { seal(version, &body) }
    };
    let version = if flags & 128 == 0 { 1 } else { MESSAGE_VERSION };
    let (message, fact, ledger) = (record(1, version), record(2, 1), record(4, 1));
    let chunk = record(0, 1);
    // A chunk has its checksum in front and no version.
    let chunk = if flags & 8 == 0 { chunk } else { [&checksum(1, &chunk)[..], &chunk].concat() };

    let mut written: Option<(u64, Message)> = open(MESSAGE_VERSION, &message);
    if flags & 64 == 0 {
        written.inspect(is_stable);
        open(1, &fact).inspect(|fact: &Fact| is_stable(fact));
        return;
    }
    let id = match &written {
        // The file would have one key for both.
        Some((_, message)) if message.id == sound().id => return,
        Some((_, message)) => message.id,
        // Records of the first version begin with the same fields.
        None => match postcard::take_from_bytes::<(u64, QueueId)>(message.get(9..).unwrap_or_default()) {
            Ok(((_, id), _)) if id != sound().id => id,
            _ => QueueId::from_number(77),
        },
    };
    let disk = Disk(Arc::new(Mutex::new(TEMPLATE.clone())));
    let database = Builder::new().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let key = id.number();
        transaction.open_table(MESSAGES).unwrap().insert(key, &message[..]).unwrap();
        transaction.open_table(STATES).unwrap().insert((0, key), ()).unwrap();
        let kind = open(1, &fact).map_or(EventType::Information, |fact: Fact| fact.kind);
        if flags & 128 == 0 {
            lay_out_as_format_1(&transaction);
            transaction.open_table(DUE).unwrap().insert((0, key), 0).unwrap();
            transaction.open_table(EVENTS[0]).unwrap().insert(EVENT, &fact[..]).unwrap();
        } else {
            transaction.open_table(WAITING).unwrap().insert((0, 0, 0, key), 0).unwrap();
            transaction.open_table(EVENTS[kind as usize]).unwrap().insert(EVENT, &fact[..]).unwrap();
        }
        if flags & 16 != 0 {
            transaction.open_table(META).unwrap().insert("ledger", &ledger[..]).unwrap();
        }
        if flags & 32 != 0 {
            transaction.open_table(REMAINDERS).unwrap().insert((key, 0), &chunk[..]).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);

    let written_fact: Option<Fact> = open(1, &fact);
    let chunk = (flags & 32 != 0).then_some(&chunk[..]);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let queue = queue(&disk);
            if flags & 128 == 0 {
                // What a record of the first version says is known to the queue alone.
                written = queue.show(id).await.ok().map(|message| (0, (*message).clone()));
            }
            reads(&queue, id, written.as_ref(), written_fact.as_ref(), chunk).await;
            works(&queue, id, written.as_ref()).await;
            queue.close().await.unwrap();
            drop(queue);
            let queue = self::queue(&disk);
            is_sound(&queue).await;
            if let Some((_, message)) = &written {
                comes_back(&queue, message, written_fact).await;
            }
            queue.close().await.unwrap();
        });
    });
}

/// What was read, however it was written, is written in one way and read again as the same.
fn is_stable<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let written = postcard::to_stdvec(value).unwrap();
    let again: T = postcard::from_bytes(&written).unwrap();
    assert_eq!(&again, value);
    assert_eq!(postcard::to_stdvec(&again).unwrap(), written);
    assert!(!format!("{value:?}").is_empty());
}

/// Every way of reading says the same of a record: what was written, or that it is damaged.
async fn reads(
    queue: &dyn Queue,
    id: QueueId,
    written: Option<&(u64, Message)>,
    fact: Option<&Fact>,
    chunk: Option<&[u8]>,
) {
    match (queue.show(id).await, written) {
        (Ok(shown), Some((_, written))) => assert_eq!(*shown, *written),
        (Err(QueueError::Damaged { .. }), None) => {}
        (shown, written) => panic!("{shown:?} of {written:?}"),
    }
    let page = queue.list(Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.messages.iter().any(|one| one.id == id), written.is_some());
    assert_eq!(page.damaged.iter().any(|one| one.0 == id), written.is_none());
    let text = Filter::parse("state:queued SOUND", &jiff::Zoned::default()).unwrap();
    assert!(queue.list(text, None, 10).await.unwrap().messages.iter().any(|one| one.id == sound().id));

    let events = queue.events(Some(EVENT), 1).await.unwrap();
    match fact {
        Some(fact) => assert_eq!(events[0].fact, *fact),
        None => assert_eq!(events[0].fact.code, code::DAMAGED),
    }
    for event in &events {
        serde_json::to_string(event).unwrap();
    }

    let expected = chunk.and_then(|chunk| {
        let (head, body) = chunk.split_at_checked(8)?;
        (head == checksum(1, body)).then_some(body)
    });
    match (queue.chunk(id, 0).await, expected) {
        (Ok(read), Some(expected)) => assert_eq!(read, expected),
        (Err(QueueError::Damaged { .. }), None) => {}
        (read, expected) => panic!("{read:?} of {expected:?}"),
    }
    is_sound(queue).await;
}

/// The message beside the damage is where it was, whole.
async fn is_sound(queue: &dyn Queue) {
    let id = sound().id;
    assert_eq!(*queue.show(id).await.unwrap(), *sound());
    assert_eq!(queue.chunk(id, 0).await.unwrap(), CONTENT);
}

/// Of mail of no site, and of the record's, under a mode or not.
fn requests(written: Option<&(u64, Message)>, due_by: Moment) -> Vec<ClaimRequest> {
    let sites = [Some(String::new()), written.map(|(_, message)| message.site.clone())];
    let sites: std::collections::BTreeSet<String> = sites.into_iter().flatten().collect();
    let request = |site: &String| {
        [false, true].map(|under_mode| ClaimRequest {
            group: ClaimGroup { site: site.clone(), under_mode },
            due_by,
            limit: 10,
        })
    };
    sites.iter().flat_map(request).collect()
}

/// Attempts and operators meet the record: the sound message is claimed, the damaged one is out of the way.
async fn works(queue: &dyn Queue, id: QueueId, written: Option<&(u64, Message)>) {
    let claims = queue.claim(Duration::from_secs(60), requests(written, Moment(u64::MAX)), 10).await.unwrap();
    let claimed = |id| claims.iter().any(|claim| claim.message.id == id);
    assert!(claimed(sound().id));
    assert!(written.is_some() || !claimed(id));
    for claim in claims {
        queue.put_back(claim);
    }
    let groups = requests(written, Moment(0)).into_iter().map(|request| request.group).collect();
    queue.next_due(groups).await.unwrap();
    queue.claim_old(vec![String::new()], Duration::ZERO, Duration::from_secs(60), 0).await.unwrap();
    queue.remove_failed(Moment(0)).await.unwrap();
    if let Some((_, message)) = written {
        message.state();
        queue.wall(message.life_start);
    }
    // A count of chunks that no message has would take its time to remove.
    if written.is_none_or(|(_, message)| message.chunks < 100) {
        for action in
            [OperatorAction::Hold, OperatorAction::Release, OperatorAction::Retry, OperatorAction::Delete]
        {
            queue.act(action, vec![id]).await.unwrap();
        }
        assert!(matches!(queue.show(id).await, Err(QueueError::NotFound(_))));
    }
    queue.status();
}

/// What was read is written again, and read again.
async fn comes_back(queue: &dyn Queue, message: &Message, fact: Option<Fact>) {
    let mut message = message.clone();
    let other = if message.id.number() == 78 { 79 } else { 78 };
    (message.id, message.chunks) = (QueueId::from_number(other), 1);
    let facts: Vec<Fact> = fact.into_iter().collect();
    queue.put(message.clone(), CONTENT.into(), facts.clone()).await.unwrap();
    assert_eq!(queue.chunk(message.id, 0).await.unwrap(), CONTENT);
    if let Some(fact) = facts.first() {
        let events = queue.events(None, 100).await.unwrap();
        assert!(events.iter().any(|event| event.fact == *fact));
    }
    match queue.show(message.id).await {
        Ok(shown) => assert_eq!(*shown, message),
        Err(error) => panic!("{error}"),
    }
}

/// Version, checksum, body: as the file has it.
pub fn seal(version: u8, body: &[u8]) -> Vec<u8> {
    [&[version][..], &checksum(version, body), body].concat()
}

fn checksum(version: u8, body: &[u8]) -> [u8; 8] {
    xxhash_rust::xxh3::xxh3_64_with_seed(body, u64::from(version - 1)).to_le_bytes()
}

/// What a record says, if it is sound.
fn open<T: DeserializeOwned>(version: u8, record: &[u8]) -> Option<T> {
    let (head, body) = record.split_at_checked(9)?;
    (head[0] == version && head[1..] == checksum(version, body))
        .then(|| postcard::from_bytes(body).ok())
        .flatten()
}

const MESSAGES: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("messages");
const WAITING: TableDefinition<'static, (u64, u8, u64, u128), u64> = TableDefinition::new("waiting");
const STATES: TableDefinition<'static, (u8, u128), ()> = TableDefinition::new("states");
const REMAINDERS: TableDefinition<'static, (u128, u32), &[u8]> = TableDefinition::new("remainders");
/// Of Information, warnings and errors; in format 1 the first has them all.
const EVENTS: [TableDefinition<'static, u64, &[u8]>; 3] =
    [TableDefinition::new("events"), TableDefinition::new("warnings"), TableDefinition::new("errors")];
/// Of format 1.
const DUE: TableDefinition<'static, (u64, u128), u64> = TableDefinition::new("due");
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
}

/// What format 1 did not have goes; the sound message waits as it did there.
fn lay_out_as_format_1(transaction: &redb::WriteTransaction) {
    assert!(transaction.delete_table(WAITING).unwrap());
    assert!(transaction.delete_table(EVENTS[1]).unwrap());
    assert!(transaction.delete_table(EVENTS[2]).unwrap());
    transaction.open_table(DUE).unwrap().insert((1, sound().id.number()), 1).unwrap();
    transaction.open_table(META).unwrap().insert("format", &1u32.to_le_bytes()[..]).unwrap();
}

/// A queue file with one sound message in it.
static TEMPLATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let disk = Disk::default();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let queue = queue(&disk);
            let time = jiff::Timestamp::UNIX_EPOCH;
            let fact = Fact::new(time, EventType::Information, "Mail", code::QUEUED, "queued");
            queue.put(sound().clone(), CONTENT.into(), vec![fact]).await.unwrap();
            queue.close().await.unwrap();
        });
    });
    disk.0.lock().unwrap().clone()
});

fn queue(disk: &Disk) -> RedbQueue {
    let clock = ManualClock::at(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let disk = disk.clone();
    let options = Options { cache_size: 1 << 20, ..Options::new(Arc::new(clock)) };
    RedbQueue::open_on(move || Ok(disk.clone()), options).unwrap()
}

/// A message as the front door makes it.
pub fn sound() -> &'static Message {
    static SOUND: LazyLock<Message> = LazyLock::new(|| Message {
        id: QueueId::from_number(76),
        reverse_path: ReversePath::Address("a@x.test".parse().unwrap()),
        recipients: vec![
            Recipient::pending("b@y.test".parse().unwrap()),
            Recipient {
                state: RecipientState::Delivered,
                reply: Some("250 2.0.0 ok".to_owned()),
                upstream: Some("primary".to_owned()),
                refused_by: vec![Refusal { upstream: "backup".to_owned(), revision: 7 }],
                ..Recipient::pending("c@y.test".parse().unwrap())
            },
        ],
        body: BodyType::EightBitMime,
        smtp_utf8: true,
        size: CONTENT.len() as u64,
        chunks: 1,
        header: HeaderFacts {
            subject: Some("sound".to_owned()),
            starts_well: true,
            ..HeaderFacts::default()
        },
        origin: Origin {
            listener: "local".to_owned(),
            client: Some([192, 0, 2, 1].into()),
            user: None,
            helo: "c.test".to_owned(),
            protocol: "ESMTP".to_owned(),
        },
        received_at: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        reception_ms: 3,
        due: Some(Moment(1)),
        life_start: Moment(1),
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    });
    &SOUND
}

/// Storage in memory that outlives whoever has it open.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.0.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        self.0.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}
