//! The log on standard error: nobody waits for it, and a clean stop loses none of it.

use crate::support::clients::smtp_source;
use crate::support::eventually;
use crate::support::proxy::{Launch, Proxy};
use crate::support::smtp_sink::SmtpSink;
use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;

const MESSAGES: usize = 400;

/// A proxy whose standard error is a pipe, and the end of it that may be read.
fn with_a_pipe(folder: &Path, config: &str) -> (Proxy, File) {
    let pipe = folder.join("log");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    // Opened for both, so that neither opening waits for the other.
    let both = File::options().read(true).write(true).open(&pipe).unwrap();
    let redirected = format!("exec \"$@\" 2>{}", pipe.display());
    let proxy = Proxy::start_with(config, Launch::default().through(&["sh", "-c", &redirected, "sh"]));
    let reader = File::open(&pipe).unwrap();
    drop(both);
    (proxy, reader)
}

fn relay(proxy: &Proxy) {
    let count = MESSAGES.to_string();
    smtp_source(proxy.address(), &["-s", "4", "-m", &count, "-f", "a@a.test", "-t", "b@b.test"]);
    eventually("all to be relayed", || {
        let listed = proxy.get("/api/v1/messages")?;
        listed["messages"].as_array()?.is_empty().then_some(())
    });
}

/// The pipe holds 64 KiB, which is the log of some 150 messages. The sessions used to stop there, in the middle of
/// whatever they logged.
#[test]
fn a_pipe_that_nobody_reads_stops_no_mail_and_a_clean_stop_loses_no_line() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), SmtpSink::start(&[]));
    let (mut proxy, mut reader) = with_a_pipe(folder.path(), &sink.upstream("only"));
    relay(&proxy);
    let mut text = String::new();
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| reader.read_to_string(&mut text).unwrap());
        proxy.terminate()
    });
    assert!(ended.success(), "{ended}");
    assert_eq!(text.lines().filter(|line| line.contains(" accepted ")).count(), MESSAGES);
    assert_eq!(text.lines().filter(|line| line.contains("status=\"delivered\"")).count(), MESSAGES);
    assert!(text.lines().last().unwrap().ends_with("stopped"), "{text}");
}

#[test]
fn a_reader_that_has_gone_stops_neither_mail_nor_the_end() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), SmtpSink::start(&[]));
    let (mut proxy, reader) = with_a_pipe(folder.path(), &sink.upstream("only"));
    drop(reader);
    relay(&proxy);
    let ended = proxy.terminate();
    assert!(ended.success(), "{ended}");
}

#[test]
fn why_a_start_failed_is_said_last() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!("[listener.taken]\naddress = \"{}\"\n", taken.local_addr().unwrap());
    let launch = Launch::default().through(&["prlimit", "--nofile=100:100"]);
    let mut proxy = Proxy::spawn_with(&config, launch);
    let (code, said) = proxy.refused();
    assert_eq!(code, Some(1), "{said}");
    let (warning, error) = (said.find("files may be open").unwrap(), said.find("postroom: ").unwrap());
    assert!(warning < error, "{said}");
    assert!(said[error..].contains("in use"), "{said}");
}
