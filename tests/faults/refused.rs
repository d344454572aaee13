//! Files and folders that the proxy must not touch: it says why, ends with 1 or 78, and every byte
//! stays as it was.

use crate::support::proxy::{Launch, Proxy};
use crate::support::talk::Talk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A data folder as it stands after a day's work: some mail in the queue, the proxy killed or stopped.
fn a_used_folder(killed: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::start_with("", Launch::default().data_dir(&folder.path().join("data")));
    let mut client = Talk::hello(proxy.address());
    for number in 0..5 {
        assert!(client.mail(&format!("r{number}@b.test"), 20_000).starts_with("250"));
    }
    drop(client);
    match killed {
        true => proxy.kill(),
        false => drop(proxy.terminate()),
    }
    folder
}

/// Every file of the folder but the socket, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let regular = std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file());
    regular
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

/// The start is refused with all these words, and so is looking into the queue; nothing changes.
#[track_caller]
fn refused(folder: &Path, words: &[&str]) {
    let data = folder.join("data");
    let before = files(&data);
    let mut proxy = Proxy::spawn_with("", Launch::default().data_dir(&data));
    let (code, said) = proxy.refused();
    assert!(matches!(code, Some(1 | 78)), "{code:?}: {said}");
    let looked = proxy.try_command(&["queue", "list", "--json"]);
    let look_said = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(!looked.status.success(), "an unreadable queue is not an empty one: {looked:?}");
    for said in [said, look_said] {
        assert!(said.contains("queue.redb"), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is missing: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    assert!(files(&data) == before, "something was changed");
}

// CASES E9
#[test]
fn an_empty_or_foreign_file_is_refused_and_never_replaced_by_an_empty_queue() {
    let folder = a_used_folder(false);
    let file = folder.path().join("data/queue.redb");
    let whole = std::fs::read(&file).unwrap();
    for (content, words) in [
        (&b""[..], "is empty (0 bytes)"),
        (b"redb", "cut short"),
        (b"From: me\r\n\r\nnot a database\r\n", "not a redb database"),
        (&[0; 8192], "not a redb database"),
        (b"SQLite format 3\0and so on", "not a redb database"),
    ] {
        std::fs::write(&file, content).unwrap();
        refused(folder.path(), &[words, "nothing was changed", "restore the file from a backup"]);
    }
    std::fs::write(&file, whole).unwrap();
    let proxy = Proxy::start_with("", Launch::default().data_dir(&folder.path().join("data")));
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 5);
}

/// Cut anywhere after a stop: refused, because what is missing may be mail.
// CASES E9
#[test]
fn a_truncated_file_is_refused() {
    let folder = a_used_folder(false);
    let file = folder.path().join("data/queue.redb");
    let whole = std::fs::read(&file).unwrap();
    for length in cuts(whole.len()) {
        std::fs::write(&file, &whole[..length]).unwrap();
        refused(folder.path(), &["nothing was changed"]);
    }
}

/// After a kill the file may end with room that nobody used yet. Without that room it opens, and everything is there;
/// cut any shorter it is refused.
// CASES E9
#[test]
fn a_truncated_file_of_a_killed_proxy_is_refused_or_whole() {
    let folder = a_used_folder(true);
    let file = folder.path().join("data/queue.redb");
    let whole = std::fs::read(&file).unwrap();
    let contents = |proxy: &Proxy| -> BTreeSet<Vec<u8>> {
        let listed = proxy.cli(&["queue", "list", "--json"]);
        let export =
            |id: &serde_json::Value| proxy.command(&["queue", "export", id.as_str().unwrap()]).stdout;
        listed.as_array().unwrap().iter().map(|message| export(&message["id"])).collect()
    };
    let before = contents(&Proxy::start_with("", Launch::default().data_dir(&folder.path().join("data"))));
    assert_eq!(before.len(), 5);
    let (mut refusals, mut starts) = (0, 0);
    for length in cuts(whole.len()).chain((1..16).map(|part| whole.len() / 16 * part)) {
        std::fs::write(&file, &whole[..length]).unwrap();
        let mut proxy = Proxy::spawn_with("", Launch::default().data_dir(&folder.path().join("data")));
        crate::support::eventually("a start or its refusal", || {
            (proxy.http_status("/readyz") == Some(200) || proxy.has_ended()).then_some(())
        });
        if proxy.has_ended() {
            assert!(std::fs::read(&file).unwrap() == whole[..length], "the file was left as it is");
            refused(folder.path(), &["nothing was changed"]);
            refusals += 1;
        } else {
            assert!(contents(&proxy) == before, "cut to {length} of {} bytes", whole.len());
            starts += 1;
        }
    }
    println!("{refusals} cuts were refused; {starts} had everything");
}

fn cuts(whole: usize) -> impl Iterator<Item = usize> {
    [9, 320, 4_096, 8_192, whole / 4, whole / 2, whole - 4_096, whole - 1].into_iter()
}

// CASES G10
#[test]
fn a_file_of_a_newer_format_is_refused() {
    let folder = a_used_folder(false);
    let database = redb::Database::open(folder.path().join("data/queue.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 99_u32.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    refused(folder.path(), &["newer postroom (format 99", "install that version"]);
}

/// The name is taken by something that is no file.
// CASES G10
#[test]
fn a_folder_in_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/queue.redb")).unwrap();
    refused(folder.path(), &[]);
}

/// Told who has it; the first one does not notice.
// CASES D9
#[test]
fn a_second_proxy_on_the_same_folder_ends_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::default().data_dir(&folder.path().join("data"));
    let first = Proxy::start_with("", launch.clone());
    let mut client = Talk::hello(first.address());
    assert!(client.mail("r0@b.test", 500).starts_with("250"));

    let (code, said) = Proxy::spawn_with("", launch.clone()).refused();
    assert_eq!(code, Some(1), "{said}");
    let who = format!("in use by another postroom (process {})", first.pid());
    assert!(said.contains(&who), "{said}");

    // Somebody has tidied the socket away: the lock on the file remains.
    std::fs::remove_file(folder.path().join("data/control.sock")).unwrap();
    let (code, said) = Proxy::spawn_with("", launch.clone()).refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another process has this queue file open"), "{said}");

    assert!(client.mail("r1@b.test", 500).starts_with("250"), "the first goes on");
    drop(first);
    let again = Proxy::start_with("", launch);
    assert_eq!(again.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 2);
}

/// Before there is a file: of several first starts at the same moment one stays, and the others do no harm.
// CASES D9
#[test]
fn of_first_starts_at_the_same_moment_exactly_one_stays() {
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch::default().data_dir(&folder.path().join("data"));
        let mut all: Vec<Proxy> = (0..3).map(|_| Proxy::spawn_with("", launch.clone())).collect();
        let ended = |proxy: &mut Proxy| proxy.has_ended();
        crate::support::eventually("all but one to end", || {
            (all.iter_mut().filter_map(|proxy| ended(proxy).then_some(())).count() == 2).then_some(())
        });
        let place = all.iter_mut().position(|proxy| !ended(proxy)).expect("one stays");
        let winner = all.swap_remove(place);
        crate::support::eventually("it to be ready", || {
            (winner.http_status("/readyz") == Some(200)).then_some(())
        });
        assert!(Talk::hello(winner.address()).mail("r0@b.test", 500).starts_with("250"));
        for mut loser in all {
            let (code, said) = loser.refused();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("another"), "{said}");
        }
        assert_eq!(winner.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 1);
    }
}
