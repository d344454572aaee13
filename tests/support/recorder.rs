//! An upstream that keeps exactly what it is sent: envelopes as written, contents byte for byte.
//!
//! Plain and patient: it takes everything, offers PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and ENHANCEDSTATUSCODES, and
//! looks for nothing but the end of the content, CRLF.CRLF. Upstreams that misbehave are scripted elsewhere.
//!
//! One that offers less ([`Recorder::offering`], [`Recorder::helo_only`]) refuses what it did not offer, as servers do.

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

/// What it offers unless told otherwise.
pub const OFFERS: [&str; 5] = ["PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];

/// The running server. Its threads end with the test's process.
pub struct Recorder {
    address: SocketAddr,
    shelf: Arc<Shelf>,
}

struct Shelf {
    /// What EHLO is answered; none where only HELO is known.
    offers: Option<Vec<String>>,
    messages: Mutex<Vec<Recorded>>,
    more: Condvar,
    /// Locked while no final reply may leave.
    gate: Mutex<()>,
}

impl Recorder {
    /// Listens on a free port of loopback.
    pub fn start() -> Recorder {
        Recorder::offering(&OFFERS)
    }

    /// Offers these extensions only. Parameters of MAIL that belong to others are refused, and so are commands that
    /// come before the reply to the one before, without PIPELINING.
    pub fn offering(extensions: &[&str]) -> Recorder {
        let offers = extensions.iter().map(|extension| (*extension).to_owned()).collect();
        Recorder::on(TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"), Some(offers))
    }

    /// Does not know EHLO, nor any extension.
    pub fn helo_only() -> Recorder {
        Recorder::on(TcpListener::bind("127.0.0.1:0").expect("a free port on loopback"), None)
    }

    /// Listens on that address: an upstream that was down is back.
    #[track_caller]
    pub fn start_at(address: SocketAddr) -> Recorder {
        let offers = OFFERS.iter().map(|extension| (*extension).to_owned()).collect();
        Recorder::on(TcpListener::bind(address).expect("the address is free"), Some(offers))
    }

    fn on(listener: TcpListener, offers: Option<Vec<String>>) -> Recorder {
        let address = listener.local_addr().expect("the address just bound");
        let shelf =
            Shelf { offers, messages: Mutex::default(), more: Condvar::new(), gate: Mutex::default() };
        let shelf = Arc::new(shelf);
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

    /// What came so far.
    pub fn messages(&self) -> Vec<Recorded> {
        self.shelf.messages.lock().expect("no session panics with the lock").clone()
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

impl Shelf {
    fn offers(&self, extension: &str) -> bool {
        self.offers.iter().flatten().any(|offered| offered.eq_ignore_ascii_case(extension))
    }

    /// The reply to EHLO.
    fn hello(&self) -> String {
        let Some(offers) = &self.offers else { return "502 command not implemented\r\n".to_owned() };
        let mut lines: Vec<&str> = vec!["recorder.test"];
        lines.extend(offers.iter().map(String::as_str));
        let last = lines.len() - 1;
        let line = |(at, line)| format!("250{}{line}\r\n", if at == last { ' ' } else { '-' });
        lines.into_iter().enumerate().map(line).collect()
    }

    /// The first parameter of that MAIL command whose extension was not offered.
    fn not_offered<'a>(&self, mail: &'a str) -> Option<&'a str> {
        let parameters = mail.rsplit_once('>').map_or("", |(_, parameters)| parameters);
        parameters.split_ascii_whitespace().find(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default().to_ascii_uppercase();
            !self.offers(if name == "BODY" { "8BITMIME" } else { &name })
        })
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
            _ if !input.buffer().is_empty() && verb != "QUIT" && !shelf.offers("PIPELINING") => {
                answers.write_all(b"503 5.5.0 improper use of SMTP command pipelining\r\n")?;
                return Ok(());
            }
            "EHLO" => answers.write_all(shelf.hello().as_bytes())?,
            "MAIL" if let Some(parameter) = shelf.not_offered(&command) => {
                answers.write_all(format!("555 5.5.4 unsupported option: {parameter}\r\n").as_bytes())?;
            }
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
pub fn content(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
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
