//! An upstream that notes in the ledger what it takes, and that fails as it is told to.
//!
//! It lives on one port for the whole run; `Mood::Away` gives the port up for a while, so that connections are refused.

use super::ledger::{Arrival, Ledger};
use super::letter::{self, Letter};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How the upstream behaves just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mood {
    /// Takes everything.
    Well,
    /// Refuses TCP, and drops whom it has.
    Away,
    /// Accepts and never greets.
    SilentAtGreeting,
    /// Never answers DATA.
    SilentAtData,
    /// Reads the whole message and says nothing.
    SilentAtDot,
    /// Reads the whole message and closes.
    ClosesAtDot,
    /// 451 to every third command that it may be said to.
    Temporary,
    /// Closes in the middle of the content.
    ClosesInContent,
}

/// All that is not well.
pub const FAULTS: [Mood; 7] = [
    Mood::Away,
    Mood::SilentAtGreeting,
    Mood::SilentAtData,
    Mood::SilentAtDot,
    Mood::ClosesAtDot,
    Mood::Temporary,
    Mood::ClosesInContent,
];

/// How long a silent upstream keeps a connection at most: longer than the proxy waits.
const SILENCE: Duration = Duration::from_secs(15);

/// The running server. Its threads end with the process.
pub struct Upstream {
    /// In the configuration.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    mood: AtomicU8,
    /// Sessions of an earlier absence are dropped.
    absences: AtomicU64,
    ledger: Arc<Ledger>,
}

impl Upstream {
    /// Takes mail from that listener, and lives on its address.
    pub fn start(name: &'static str, listener: TcpListener, ledger: Arc<Ledger>) -> Arc<Upstream> {
        let address = listener.local_addr().expect("the address just bound");
        let mood = AtomicU8::new(Mood::Well as u8);
        let upstream = Arc::new(Upstream { name, address, mood, absences: AtomicU64::new(0), ledger });
        let own = Arc::clone(&upstream);
        std::thread::spawn(move || own.listen(listener));
        upstream
    }

    /// Behaves so from now on.
    pub fn turn(&self, mood: Mood) {
        if mood == Mood::Away {
            self.absences.fetch_add(1, Ordering::SeqCst);
        }
        self.mood.store(mood as u8, Ordering::SeqCst);
        // Whoever waits in accept() looks up.
        let _ = TcpStream::connect(self.address);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }

    fn listen(self: Arc<Self>, mut listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept() else { continue };
            if self.is(Mood::Away) {
                drop((stream, listener));
                while self.is(Mood::Away) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                listener = self.bind_again();
                continue;
            }
            let own = Arc::clone(&self);
            // Whatever happens to a connection, the proxy has to cope.
            std::thread::spawn(move || drop(own.serve(&stream)));
        }
    }

    fn bind_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => return listener,
                // Somebody else is trying ports.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Waits in silence as long as the mood lasts.
    fn be_silent(&self, mood: Mood) -> io::Result<()> {
        let start = Instant::now();
        while self.is(mood) && start.elapsed() < SILENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let absences = self.absences.load(Ordering::SeqCst);
        stream.set_nodelay(true)?;
        // A proxy that was killed closes its connections; this is for sockets that nobody closes.
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        let mut reader = Lines { inner: BufReader::with_capacity(1 << 16, stream) };
        if self.is(Mood::SilentAtGreeting) {
            return self.be_silent(Mood::SilentAtGreeting);
        }
        say(stream, "220 upstream.test ESMTP")?;
        let mut rcpt = String::new();
        let mut turn = 0_u32;
        loop {
            let line = reader.line()?;
            if self.absences.load(Ordering::SeqCst) != absences {
                return Ok(());
            }
            turn += 1;
            let temporary = self.is(Mood::Temporary) && turn.is_multiple_of(3);
            match line.get(..4).unwrap_or_default() {
                "EHLO" => say(stream, "250-upstream.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE")?,
                "MAIL" | "RCPT" if temporary => say(stream, "451 4.3.0 not now")?,
                "RCPT" if line.contains(letter::GONE) => say(stream, "550 5.1.1 nobody of that name")?,
                "RCPT" => {
                    let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    rcpt = path.map(|(path, _)| path.to_owned()).unwrap_or_default();
                    say(stream, "250 2.1.5 known")?;
                }
                "DATA" if rcpt.is_empty() => say(stream, "503 5.5.1 nobody to send to")?,
                "DATA" if self.is(Mood::SilentAtData) => return self.be_silent(Mood::SilentAtData),
                "DATA" => {
                    let begun = Instant::now();
                    say(stream, "354 go ahead")?;
                    if self.is(Mood::ClosesInContent) {
                        return reader.inner.read(&mut [0; 100]).map(drop);
                    }
                    let content = reader.content()?;
                    self.take(stream, &std::mem::take(&mut rcpt), &content, temporary, begun)?;
                }
                "RSET" | "MAIL" | "NOOP" => {
                    rcpt.clear();
                    say(stream, "250 2.0.0 yes")?;
                }
                "QUIT" => return say(stream, "221 2.0.0 bye"),
                _ => {
                    self.ledger.wrong(format!("{} was sent the command {line:?}", self.name));
                    say(stream, "500 5.5.2 what")?;
                }
            }
        }
    }

    /// A message was read to its final dot.
    fn take(
        &self,
        stream: &TcpStream,
        rcpt: &str,
        content: &[u8],
        temporary: bool,
        begun: Instant,
    ) -> io::Result<()> {
        if temporary {
            return say(stream, "451 4.3.0 not now");
        }
        let (closes, silent) = (self.is(Mood::ClosesAtDot), self.is(Mood::SilentAtDot));
        if (closes || silent) && fastrand::bool() {
            // Half of these are lost by the upstream, which never said that it has them.
            self.ledger.count("messages dropped by an upstream without a reply");
        } else {
            let arrival = match letter::read(rcpt, &letter::unstuffed(content)) {
                Ok(Letter { number, queue_id, about }) => Arrival {
                    number,
                    queue_id,
                    about,
                    begun,
                    at: Instant::now(),
                    replied: None,
                    is_copy: rcpt == letter::REPORT,
                    upstream: self.name,
                },
                Err(what) => {
                    self.ledger.wrong(format!("{} took for <{rcpt}>: {what}", self.name));
                    return say(stream, "250 2.0.0 taken");
                }
            };
            let place = self.ledger.arrive(arrival);
            if !closes && !silent {
                say(stream, "250 2.0.0 taken")?;
                self.ledger.replied(place);
                return Ok(());
            }
        }
        if silent { self.be_silent(Mood::SilentAtDot) } else { Err(io::ErrorKind::ConnectionReset.into()) }
    }
}

fn say(mut stream: &TcpStream, reply: &str) -> io::Result<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes())
}

/// Commands and contents, from one connection.
struct Lines<'a> {
    inner: BufReader<&'a TcpStream>,
}

impl Lines<'_> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let length = (&mut self.inner).take(10_000).read_until(b'\n', &mut line)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(io::Error::other)
    }

    /// Up to and with CRLF.CRLF.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        // As if the command before had ended with the line end that a dot at the very start needs.
        let mut content = b"\r\n".to_vec();
        loop {
            let piece = self.inner.fill_buf()?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (old, length) = (content.len(), piece.len());
            content.extend_from_slice(piece);
            let from = old.saturating_sub(4);
            if let Some(place) = memchr::memmem::find(&content[from..], b"\r\n.\r\n") {
                let end = from + place + 5;
                self.inner.consume(end - old);
                content.truncate(end);
                return Ok(content.split_off(2));
            }
            self.inner.consume(length);
        }
    }
}
