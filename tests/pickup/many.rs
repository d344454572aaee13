//! Ten thousand files at once.

use super::{OFF, file, pickup};
use crate::deliver::pickup_folder::names;
use crate::faults::process::{MIB, assert_within};
use crate::support::eventually;
use crate::support::proxy::Proxy;

const FILES: usize = 10_000;

/// Those of one moment in the order of their names; older ones first, whatever their names.
// CASES D10
#[test]
fn ten_thousand_files_become_messages_in_their_order_and_memory_stays_flat() {
    let folder = tempfile::tempdir().unwrap();
    let body = "0123456789abcdef\r\n".repeat(200);
    let moment = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for number in 0..FILES {
        let path = folder.path().join(format!("{:05}.eml", number * 7919 % FILES));
        std::fs::write(&path, file(&["ann@b.test"], &format!("Subject: {number}\r\n\r\n{body}"))).unwrap();
        // The first half is younger than the second.
        let time = moment + std::time::Duration::from_secs(u64::from(number * 7919 % FILES < FILES / 2));
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    let proxy = Proxy::start(&(pickup("web1", folder.path()) + OFF));
    let mut left = FILES;
    while left > 0 {
        left = eventually("more files to be taken", || {
            Some(names(folder.path()).len()).filter(|now| *now < left)
        });
    }
    assert_within(&proxy, 120 * MIB, "10,000 files");
    let mut ids: Vec<(String, usize)> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = proxy.get(&format!("/api/v1/messages?limit=1000{cursor}")).unwrap();
        for message in page["messages"].as_array().unwrap() {
            let subject = message["subject"].as_str().unwrap().parse::<usize>().unwrap();
            ids.push((message["id"].as_str().unwrap().to_owned(), subject * 7919 % FILES));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ids.sort();
    let order: Vec<usize> = ids.into_iter().map(|(_, place)| place).collect();
    let expected: Vec<usize> = (FILES / 2..FILES).chain(0..FILES / 2).collect();
    assert_eq!(order.len(), FILES);
    assert!(order == expected, "out of order: {:?} …", &order[..20]);
}
