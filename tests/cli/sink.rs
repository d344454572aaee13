//! The throw-away upstream, with real clients.

use crate::support::clients::{Envelope, smtp_source, smtplib, succeeded, swaks};
use crate::support::proxy::postroom;
use crate::support::samples::{long_lines, sample, with_attachment};
use postroom::cli::sink::{RunningSink, Sink, SinkOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

const ENVELOPE: Envelope<'static> = Envelope { from: "ann@client.test", to: &["bob@upstream.test"] };

/// A sink on a runtime of its own, what it says, and a folder for dumps.
struct Stage {
    runtime: tokio::runtime::Runtime,
    sink: RunningSink,
    said: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

fn stage(options: SinkOptions) -> Stage {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let lines = Arc::clone(&said);
    let say = Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned()));
    let options = SinkOptions { say, dump: Some(folder.path().to_owned()), ..options };
    let sink = runtime.block_on(Sink::start(options)).unwrap();
    Stage { runtime, sink, said, folder }
}

impl Stage {
    fn dumped(&self, number: usize) -> Vec<u8> {
        std::fs::read(self.folder.path().join(format!("{number:06}.eml"))).unwrap()
    }

    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[test]
fn what_real_clients_send_is_dumped_byte_for_byte() {
    let stage = stage(SinkOptions::default());
    let address = stage.sink.address();
    let (dots, eight_bit, utf8) = (sample("dots.eml"), sample("eight-bit.eml"), sample("smtputf8.eml"));
    let (long, big) = (long_lines(), with_attachment(3_000_000));
    swaks(address, &ENVELOPE, &dots, &[]);
    smtplib(address, &ENVELOPE, &eight_bit, &["BODY=8BITMIME"]);
    let utf8_envelope = Envelope { from: "jörg@bücher.test", to: &["用户@例子.test", "b@y.test"] };
    smtplib(address, &utf8_envelope, &utf8, &["SMTPUTF8", "BODY=8BITMIME"]);
    smtplib(address, &ENVELOPE, &long, &[]);
    smtplib(address, &ENVELOPE, &big, &[]);
    for (number, sent) in [dots, eight_bit, utf8, long, big].iter().enumerate() {
        assert!(stage.dumped(number + 1) == *sent, "message {} is not what was sent", number + 1);
    }
    assert_eq!(stage.sink.taken(), 5);
    let said = stage.said();
    let size = stage.dumped(3).len();
    assert_eq!(
        said[2],
        format!("taken 3: from=<jörg@bücher.test> to=<用户@例子.test>,<b@y.test> size={size} subject=你好 ✓")
    );
    assert!(said[1].ends_with("subject=Grüße"), "{}", said[1]);
    stage.runtime.block_on(stage.sink.stop());
    assert!(TcpStream::connect(address).is_err(), "it listens after it was stopped");
}

#[test]
fn the_null_reverse_path_is_taken() {
    let stage = stage(SinkOptions::default());
    swaks(stage.sink.address(), &Envelope { from: "", ..ENVELOPE }, b"Subject: t\r\n\r\nx\r\n", &[]);
    assert_eq!(stage.said(), ["taken 1: from=<> to=<bob@upstream.test> size=17 subject=t"]);
}

#[test]
fn many_at_once() {
    let stage = stage(SinkOptions::default());
    smtp_source(stage.sink.address(), &["-s", "20", "-m", "500", "-l", "4096", "-d"]);
    assert_eq!(stage.sink.taken(), 500);
}

#[test]
fn refusals_come_in_their_share_and_the_same_each_time() {
    let decisions = |seed| {
        let stage = stage(SinkOptions { refuse: 0.3, reject: 0.2, seed, ..SinkOptions::default() });
        let mut client = Dialogue::with(&stage.sink);
        client.say("EHLO c.test", "250");
        client.say("MAIL FROM:<a@x.test>", "250");
        (0..400).map(|_| client.ask("RCPT TO:<b@y.test>")[..3].to_owned()).collect::<Vec<_>>()
    };
    let first = decisions(7);
    let share = |code| first.iter().filter(|one| *one == code).count();
    assert!((80..160).contains(&share("451")), "{} of 400", share("451"));
    assert!((50..120).contains(&share("550")), "{} of 400", share("550"));
    assert_eq!(share("451") + share("550") + share("250"), 400);
    assert_eq!(decisions(7), first);
    assert_ne!(decisions(8), first);
}

#[test]
fn some_recipients_are_always_refused() {
    let options = || SinkOptions {
        refuse_to: vec!["full".to_owned(), "slow".to_owned()],
        reject_to: vec!["unknown".to_owned()],
        ..SinkOptions::default()
    };
    let stage = stage(options());
    let mut client = Dialogue::with(&stage.sink);
    client.say("EHLO c.test", "250");
    client.say("MAIL FROM:<a@x.test>", "250");
    for (to, answer) in [
        ("full@y.test", "452 4.2.2"),
        ("slow@z.test", "452 4.2.2"),
        ("unknown@y.test", "550 5.1.1"),
        ("not.unknown@y.test", "250"),
        ("ann@full", "250"),
    ] {
        client.say(&format!("RCPT TO:<{to}>"), answer);
    }
}

#[test]
fn pieces_of_a_long_line_keep_their_dots() {
    // Lines so long that they are handed on in pieces of 64 KiB, with dots at every place where a piece may begin.
    for shift in 0..3 {
        let stage = stage(SinkOptions::default());
        let mut client = Dialogue::with(&stage.sink);
        client.begin_data();
        let mut line = vec![b'x'; 65_536 - shift];
        line.extend_from_slice(b"....\r\n");
        let content = line.repeat(5);
        client.stream.get_mut().write_all(&content).unwrap();
        client.say(".", "250");
        assert!(stage.dumped(1) == content, "shift {shift}");
    }
}

#[test]
fn an_endless_command_ends_the_session() {
    let stage = stage(SinkOptions::default());
    let mut client = Dialogue::with(&stage.sink);
    client.stream.get_mut().write_all(&vec![b'x'; 65_536]).unwrap();
    assert!(client.answer().starts_with("500 5.5.2"));
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn half_a_message_is_none() {
    let stage = stage(SinkOptions::default());
    let mut client = Dialogue::with(&stage.sink);
    client.begin_data();
    client.stream.get_mut().write_all(b"Subject: t\r\n\r\nhal").unwrap();
    client.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(stage.sink.taken(), 0);
    let address = stage.sink.address();
    stage.runtime.block_on(stage.sink.stop());
    assert_eq!(std::fs::read_dir(stage.folder.path()).unwrap().count(), 0, "{address} left something behind");
}

#[test]
fn a_dump_that_fails_is_answered_and_the_connection_closed() {
    let stage = stage(SinkOptions::default());
    std::fs::remove_dir(stage.folder.path()).unwrap();
    let mut client = Dialogue::with(&stage.sink);
    client.begin_data();
    client.say("Subject: t\r\n\r\n.", "452 4.3.1");
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(stage.sink.taken(), 0);
}

#[test]
fn the_command_says_what_a_share_is() {
    for arguments in [["--refuse", "2"], ["--reject", "-1"], ["--delay", "soon"]] {
        let output = postroom().arg("sink").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let help = succeeded(postroom().args(["sink", "--help"]), b"");
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("--refuse <RATE>"), "{help}");
}

/// A client that says what it is told to.
struct Dialogue {
    stream: BufReader<TcpStream>,
}

impl Dialogue {
    fn with(sink: &RunningSink) -> Dialogue {
        let stream = TcpStream::connect(sink.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let mut client = Dialogue { stream: BufReader::new(stream) };
        assert!(client.answer().starts_with("220 sink.localhost"));
        client
    }

    fn begin_data(&mut self) {
        self.say("HELO c.test", "250");
        self.say("MAIL FROM:<a@x.test>", "250");
        self.say("RCPT TO:<b@y.test>", "250");
        self.say("DATA", "354");
    }

    fn say(&mut self, line: &str, expected: &str) {
        let answer = self.ask(line);
        assert!(answer.starts_with(expected), "{line} was answered {answer}");
    }

    fn ask(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.answer()
    }

    /// The last line of a reply.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            if line.get(3..4) != Some("-") {
                return line;
            }
        }
    }
}
