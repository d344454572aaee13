//! An upstream that keeps exactly what it is sent: envelopes as written, contents byte for byte.
//!
//! Plain and patient: it takes everything, offers PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and ENHANCEDSTATUSCODES, and
//! looks for nothing but the end of the content, CRLF.CRLF. Upstreams that misbehave are scripted elsewhere.

use super::{PATIENCE, plain_upstream};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// A message as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What stood behind `MAIL FROM:`, parameters included.
    pub mail: String,
    /// What stood behind `RCPT TO:`, each.
    pub rcpt: Vec<String>,
    /// Dot-unstuffed, its last CRLF included.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = String::from_utf8_lossy(&self.content[..self.content.len().min(2000)]);
        write!(f, "MAIL FROM:{} RCPT TO:{:?}, {} bytes:\n{start}", self.mail, self.rcpt, self.content.len())
    }
}

/// The running server. Its threads end with the test's process.
pub struct Recorder {
    address: SocketAddr,
    shelf: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    messages: Mutex<Vec<Recorded>>,
    more: Condvar,
    /// Locked while no final reply may leave.
    gate: Mutex<()>,
}

impl Recorder {
    /// Listens on a free port of loopback.
    pub fn start() -> Recorder {
        Recorder::on(TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"))
    }

    /// Listens on that address: an upstream that was down is back.
    #[track_caller]
    pub fn start_at(address: SocketAddr) -> Recorder {
        Recorder::on(TcpListener::bind(address).expect("the address is free"))
    }

    fn on(listener: TcpListener) -> Recorder {
        let address = listener.local_addr().expect("the address just bound");
        let shelf = Arc::new(Shelf::default());
        let kept = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &shelf));
            }
        });
        Recorder { address, shelf }
    }

    /// Keeps every reply to a final dot back until it is dropped.
    pub fn hold_final_replies(&self) -> MutexGuard<'_, ()> {
        self.shelf.gate.lock().expect("no session panics with the lock")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of an upstream that is this server.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// What came so far, once there are that many messages.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Recorded> {
        let messages = self.shelf.messages.lock().expect("no session panics with the lock");
        let waiting =
            self.shelf.more.wait_timeout_while(messages, PATIENCE, |messages| messages.len() < count);
        let (messages, timeout) = waiting.expect("no session panics with the lock");
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} for {count} messages, {} came", messages.len());
        messages.clone()
    }
}

fn serve(stream: TcpStream, shelf: &Shelf) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let mut message = Recorded { mail: String::new(), rcpt: Vec::new(), content: Vec::new() };
    answers.write_all(b"220 recorder.test ESMTP\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = command.split([' ', ':']).next().unwrap_or("").to_ascii_uppercase();
        let argument = || command.split_once(':').map_or("", |(_, argument)| argument).to_owned();
        match verb.as_str() {
            "EHLO" => answers.write_all(
                b"250-recorder.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                  250 ENHANCEDSTATUSCODES\r\n",
            )?,
            "MAIL" => {
                message = Recorded { mail: argument(), rcpt: Vec::new(), content: Vec::new() };
                answers.write_all(b"250 2.1.0 ok\r\n")?;
            }
            "RCPT" => {
                message.rcpt.push(argument());
                answers.write_all(b"250 2.1.5 ok\r\n")?;
            }
            "DATA" => {
                answers.write_all(b"354 go on\r\n")?;
                message.content = content(&mut input)?;
                shelf.messages.lock().expect("no session panics with the lock").push(message.clone());
                shelf.more.notify_all();
                drop(shelf.gate.lock().expect("no session panics with the lock"));
                answers.write_all(b"250 2.0.0 recorded\r\n")?;
            }
            "QUIT" => return answers.write_all(b"221 2.0.0 bye\r\n"),
            _ => answers.write_all(b"250 2.0.0 ok\r\n")?,
        }
    }
}

/// The content up to CRLF.CRLF, one dot taken from each line that begins with one. A line ends at CRLF alone.
fn content(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut line_start = 0;
    loop {
        if input.read_until(b'\n', &mut content)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !content.ends_with(b"\r\n") {
            continue;
        }
        if content[line_start..] == *b".\r\n" {
            content.truncate(line_start);
            return Ok(content);
        }
        if content[line_start] == b'.' {
            content.remove(line_start);
        }
        line_start = content.len();
    }
}

/// What was added in front of `sent`: panics where the rest of `received` is not exactly `sent`.
#[track_caller]
pub fn added<'a>(received: &'a [u8], sent: &[u8]) -> &'a str {
    if !received.ends_with(sent) {
        let same =
            received.iter().rev().zip(sent.iter().rev()).take_while(|(one, other)| one == other).count();
        let around = |bytes: &[u8]| {
            let at = bytes.len().saturating_sub(same);
            String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())]).into_owned()
        };
        panic!(
            "the content is not what was sent; they part {same} bytes before the end:\nsent     {:?}\nreceived {:?}",
            around(sent),
            around(received)
        );
    }
    std::str::from_utf8(&received[..received.len() - sent.len()]).expect("added fields are text")
}

/// Panics unless `added` is exactly one `Received:` field.
#[track_caller]
pub fn assert_one_received(added: &str) {
    let fields: Vec<&str> =
        added.split_inclusive("\r\n").filter(|line| !line.starts_with([' ', '\t'])).collect();
    assert!(added.ends_with("\r\n"), "{added:?} is not made of whole lines");
    assert_eq!(fields.len(), 1, "{added:?}");
    assert!(fields[0].starts_with("Received: "), "{added:?}");
}
