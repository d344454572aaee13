//! Opening the file: made once, refused whenever something about it is not right.

use super::*;
use postroom::queue::redb::OpenError;
use postroom::queue::{Filter, OperatorAction};
use std::fs;

fn refused(home: &Home) -> String {
    let before = fs::read(home.path()).unwrap();
    let error = RedbQueue::open(&home.path(), options(&home.clock)).err().expect("refused").to_string();
    let reading =
        RedbQueue::open_read_only(&home.path()).err().expect("refused for reading, too").to_string();
    assert!(error.contains("queue.redb") && reading.contains("queue.redb"), "{error}\n{reading}");
    assert!(fs::read(home.path()).unwrap() == before, "the file was left as it is");
    assert_eq!(fs::read_dir(home.folder.path()).unwrap().count(), 1, "and nothing was put beside it");
    error
}

// CASES E9
#[test]
fn an_empty_a_foreign_and_a_cut_file_are_refused_and_never_replaced() {
    let home = Home::new();
    fs::write(home.path(), b"").unwrap();
    assert!(refused(&home).contains("empty (0 bytes); nothing was changed: restore"));
    fs::write(home.path(), b"From: me\n").unwrap();
    assert!(refused(&home).contains("not a redb database"));
    fs::write(home.path(), b"redb").unwrap();
    assert!(refused(&home).contains("cut short"));

    fs::remove_file(home.path()).unwrap();
    drop(home.open());
    let whole = fs::read(home.path()).unwrap();
    for length in [9, 100, 512, 4_096, 8_192, whole.len() / 2, whole.len() - 4_096, whole.len() - 1] {
        fs::write(home.path(), &whole[..length]).unwrap();
        assert!(refused(&home).contains("nothing was changed"), "{length}");
    }
    fs::write(home.path(), &whole).unwrap();
    drop(home.open());
}

#[test]
fn a_redb_database_of_another_program_is_refused() {
    let home = Home::new();
    let database = redb::Database::create(home.path()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(refused(&home).contains("not a queue of postroom"));
}

// CASES G10
#[test]
fn a_file_of_a_newer_format_is_refused() {
    let home = Home::new();
    drop(home.open());
    let database = redb::Database::open(home.path()).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 3_u32.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(&home);
    assert!(error.contains("newer postroom (format 3, this one reads 2)"), "{error}");
}

// CASES D9
#[tokio::test]
async fn a_second_process_is_told_who_is_in_the_way_and_does_no_harm() {
    let home = Home::new();
    let queue = home.open();
    let message = put_new(&queue, &["a@x.test"]).await;
    let second = RedbQueue::open(&home.path(), options(&home.clock)).err().unwrap();
    assert!(matches!(second, OpenError::InUse(_)) && second.to_string().contains("another process"));
    assert!(matches!(RedbQueue::open_read_only(&home.path()).err().unwrap(), OpenError::InUse(_)));
    assert_eq!(claim_one(&queue).await.message.id, message.id);
}

#[test]
fn a_folder_that_is_not_there_is_an_error_that_names_it() {
    let home = Home::new();
    let path = home.folder.path().join("missing").join("queue.redb");
    let error = RedbQueue::open(&path, options(&home.clock)).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("missing"), "{error}");
    assert!(matches!(RedbQueue::open_read_only(&path).err().unwrap(), OpenError::Missing(_)));
}

#[test]
fn what_a_killed_first_start_left_behind_is_no_hindrance() {
    for left in [&b""[..], b"redb\x1A\x0A\xA9\x0D\x0Aand then nothing", &[7; 9_000]] {
        let home = Home::new();
        fs::write(home.folder.path().join("queue.redb.new"), left).unwrap();
        drop(home.open());
        assert!(!home.folder.path().join("queue.redb.new").exists());
    }
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    drop(home.open());
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_file_is_read_while_no_proxy_runs_even_after_a_kill() {
    let home = Home::new();
    let queue = home.open();
    let message = super::message(&queue, &["a@x.test"], CHUNK_SIZE + 10);
    put(&queue, &message).await.unwrap();
    let held = put_new(&queue, &["b@x.test"]).await;
    queue.act(OperatorAction::Hold, vec![held.id]).await.unwrap();
    // As a kill leaves it: the file as it is now, never closed.
    let killed = home.folder.path().join("killed.redb");
    fs::copy(home.path(), &killed).unwrap();
    let instance = queue.instance().to_owned();
    queue.close().await.unwrap();
    for path in [home.path(), killed] {
        let reader = RedbQueue::open_read_only(&path).unwrap();
        assert_eq!(reader.list(&Filter::default(), None, 1).unwrap().next, Some(message.id));
        assert_eq!(*reader.show(message.id).unwrap(), message);
        let read = [reader.chunk(message.id, 0).unwrap(), reader.chunk(message.id, 1).unwrap()].concat();
        assert!(read == content(&message));
        assert_eq!(codes(&reader.events(None, 10).unwrap()), ["QUEUED", "QUEUED", "HELD"]);
        let health = reader.status().unwrap();
        assert_eq!((health.queued, health.held, health.writable), (1, 1, false));
        assert_eq!(reader.instance(), instance);
    }
}
