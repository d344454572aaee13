//! Memory does not follow what comes in.

use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;

/// The highest resident size of the process so far, in MiB.
fn peak(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Nothing but header: one field of 5 MB on one line, one folded over 100,000 lines, and 100,000 fields.
// CASES B34
#[test]
fn a_header_of_15_megabytes_passes_unchanged_in_bounded_memory() {
    let recorder = Recorder::start();
    let proxy = Proxy::start(&recorder.upstream("only"));
    let mut client = Talk::hello(proxy.address());
    assert!(client.transact(b"Subject: t\r\n\r\nx\r\n.\r\n").starts_with("250 "));
    recorder.wait(1);
    let before = peak(&proxy);
    let long = format!("X-Long: {}\r\n", "l".repeat(5_000_000));
    let folded = format!("X-Folded: f\r\n{}", format!("\t{}\r\n", "f".repeat(47)).repeat(100_000));
    let many: String =
        (0..100_000).map(|number| format!("X-Field-{number:06}: {}\r\n", "m".repeat(32))).collect();
    let content = format!("{long}{folded}{many}");
    assert!(content.len() > 15_000_000);
    let reply = client.transact(format!("{content}.\r\n").as_bytes());
    assert!(reply.starts_with("250 2.0.0 queued as "), "{reply}");
    let received = recorder.wait(2).remove(1).content;
    assert!(received.ends_with(content.as_bytes()), "it came out as it went in");
    let grown = peak(&proxy) - before;
    println!("15 MB of header took {grown} MiB of memory");
    assert!(grown < 48, "15 MB of header took {grown} MiB of memory");
}
