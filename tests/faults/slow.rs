//! Slow clients of every kind at once: a total deadline ends each of them, the others notice nothing.

use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::io::Write;
use std::time::{Duration, Instant};

const COMMAND: Duration = Duration::from_secs(2);
const DATA: Duration = Duration::from_secs(3);
const OF_EACH: usize = 10;

/// What a slow client does before it begins to drip, what it drips, and what it may take in all.
const KINDS: &[(&str, &str, Duration)] = &[
    ("", "N", COMMAND),
    // Each of these commands is over in time; it is the one after them that drips.
    ("NOOP\r\nMAIL FROM:<slow@a.test>\r\nRCPT TO:<slow@b.test>\r\n", "D", COMMAND),
    ("MAIL FROM:<slow@a.test>\r\nRCPT TO:<slow@b.test>\r\nDATA\r\n", "x", DATA),
    // Whole lines are no progress either.
    ("MAIL FROM:<slow@a.test>\r\nRCPT TO:<slow@b.test>\r\nDATA\r\n", "x\r\n", DATA),
    ("MAIL FROM:<slow@a.test>\r\nRCPT TO:<slow@b.test>\r\nBDAT 1000000 LAST\r\n", "x", DATA),
];

// CASES D1
#[test]
fn a_byte_now_and_then_keeps_no_session_alive_and_others_are_served_meanwhile() {
    let recorder = Recorder::start();
    let limits = format!(
        "[limits]\ncommand_timeout = \"{}s\"\ndata_timeout = \"{}s\"\n",
        COMMAND.as_secs(),
        DATA.as_secs()
    );
    let proxy = Proxy::start(&format!("{limits}{}", recorder.upstream("only")));
    let address = proxy.address();
    std::thread::scope(|scope| {
        for (start, drip, deadline) in KINDS {
            for _ in 0..OF_EACH {
                scope.spawn(move || {
                    // No deadline begins before the connection.
                    let began = Instant::now();
                    let mut slow = Talk::hello(address);
                    slow.send(start);
                    let mut writer = slow.stream().try_clone().unwrap();
                    let dripping = std::thread::spawn(move || {
                        while writer.write_all(drip.as_bytes()).is_ok() {
                            std::thread::sleep(Duration::from_millis(100));
                        }
                    });
                    let last = std::iter::repeat_with(|| slow.reply())
                        .find(|reply| !reply.starts_with('2') && !reply.starts_with('3'))
                        .unwrap();
                    assert!(last.starts_with("421 4.4.2 "), "{start:?}, {drip:?}: {last:?}");
                    assert!(began.elapsed() >= *deadline, "{start:?}: too early");
                    slow.closed();
                    drop(slow);
                    dripping.join().unwrap();
                });
            }
        }
        for number in 0..20 {
            let mut quick = Talk::hello(address);
            assert!(quick.mail(&format!("r{number}@b.test"), 2_000).starts_with("250"));
            quick.say("QUIT", "221");
        }
        recorder.wait(20);
    });
    // None of the slow ones' mail.
    assert_eq!(recorder.wait(20).len(), 20);
    assert_eq!(proxy.cli(&["queue", "list", "--json"]).as_array().unwrap().len(), 0);
}
