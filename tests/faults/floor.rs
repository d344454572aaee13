//! Limits of the queue itself: free space that is kept, and messages at most.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::full::{on, wait_until_empty};
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;

// CASES E6
#[test]
fn below_min_free_space_nothing_is_accepted_and_delivery_goes_on() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(16 * 1024);
        let recorder = Recorder::start();
        let config = "[queue]\nmin_free_space = \"4MiB\"\n";
        let proxy = on(&disk, config);
        let mut client = Talk::hello(proxy.address());
        assert!(client.mail("r0@b.test", 500).starts_with("250"));
        disk.fill_but(3 << 20);
        // What the file system said may be a millisecond old.
        eventually("mail to be refused", || {
            client.send("MAIL FROM:<shop@a.test>\r\n");
            let reply = client.reply();
            client.say("RSET", "250");
            (!reply.starts_with("250")).then(|| assert!(reply.starts_with("452 4.3.1 "), "{reply}"))
        });
        proxy.wait_until_said("and min_free_space keeps 4194304 free: no mail is accepted");
        proxy.configure(&format!("{config}{}", recorder.upstream("only")));
        proxy.command(&["reload"]);
        recorder.wait(1);
        wait_until_empty(&proxy);
        disk.empty();
        eventually("mail to be taken", || client.mail("r1@b.test", 500).starts_with("250").then_some(()));
        recorder.wait(2);
        let low = || {
            let events = proxy.cli(&["events", "--json"]);
            events.as_array().unwrap().iter().filter(|event| event["code"] == "LOW_DISK").count()
        };
        eventually("the end of the episode", || (low() == 2).then_some(()));
    });
}

/// Room for the floor and not for the message that was announced on top of it.
// CASES E6
#[test]
fn an_announced_size_counts_against_the_free_space() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(16 * 1024);
        let proxy = on(&disk, "[queue]\nmin_free_space = \"4MiB\"\n");
        let mut client = Talk::hello(proxy.address());
        client.say("MAIL FROM:<shop@a.test> SIZE=14000000", "452 4.3.1 ");
        client.say("MAIL FROM:<shop@a.test> SIZE=1000000", "250");
    });
}

// CASES E7
#[test]
fn at_its_cap_the_queue_takes_nothing_until_something_has_left() {
    let proxy = Proxy::start("[queue]\nmax_messages = 3\n");
    let mut client = Talk::hello(proxy.address());
    for number in 0..3 {
        assert!(client.mail(&format!("r{number}@b.test"), 500).starts_with("250"));
    }
    let refusal = client.mail("r3@b.test", 500);
    assert!(refusal.starts_with("452 4.3.1 ") && refusal.contains("max_messages"), "{refusal}");
    let listed = proxy.cli(&["queue", "list", "--json"]);
    proxy.command(&["queue", "delete", listed[1]["id"].as_str().unwrap()]);
    client.say("RSET", "250");
    assert!(client.mail("r4@b.test", 500).starts_with("250"));
    client.say("MAIL FROM:<shop@a.test>", "452 4.3.1 ");
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 3);
}

/// No room for the first start.
// CASES G10
#[test]
fn without_room_for_a_queue_file_it_does_not_start_and_says_why() {
    where_mounting_is_allowed(|| {
        let disk = SmallDisk::of(4 * 1024);
        std::fs::create_dir(disk.path().join("data")).unwrap();
        disk.fill_but(0);
        let mut proxy = Proxy::spawn_with("", Launch::default().data_dir(&disk.path().join("data")));
        let (code, said) = proxy.refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("queue.redb") && said.contains("No space left on device"), "{said}");
        disk.empty();
        proxy.start_again();
    });
}
