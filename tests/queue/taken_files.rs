//! Files of a folder that are messages already.

use super::*;
use postroom::queue::{FileIdentity, TakenFiles};

const FOLDER: &str = "/srv/pickup";

/// A task that is ended while its commit is under way leaves the file to the next one, which does not know of it.
#[tokio::test]
async fn a_file_becomes_one_message_however_often_it_is_put() {
    let home = Home::new();
    let queue = home.open();
    let file = FileIdentity { inode: 7, size: 100, modified_s: 1_800_000_000, modified_ns: 1 };
    let put = async |file: FileIdentity, folder: &str| {
        let message = message(&queue, &["b@y.test"], 100);
        let tail = content(&message);
        queue.put_file(message, tail.into(), Vec::new(), folder, file).await
    };
    put(file, FOLDER).await.unwrap();
    let again = put(file, FOLDER).await;
    assert!(matches!(again, Err(QueueError::AlreadyTaken)), "{again:?}");
    assert_eq!(queue.status().messages(), 1);
    // Another file, or one of another folder, is another message.
    put(FileIdentity { inode: 8, ..file }, FOLDER).await.unwrap();
    put(file, "/srv/other").await.unwrap();
    assert_eq!(queue.status().messages(), 3);
    // One that is gone may come again.
    queue.forget_files(FOLDER, vec![file]).await.unwrap();
    put(file, FOLDER).await.unwrap();
    assert_eq!(queue.status().messages(), 4);
}
