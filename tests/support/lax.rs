//! The laxest upstream there is: any CR, LF or CRLF ends a line, and a dot alone between any two of them ends a content.
//! Whoever sends it a bare CR or LF in the wrong place has sent it a second message. It keeps every command and every
//! content as it came.

use super::{PATIENCE, plain_upstream};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A message as the lax server understood it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What stood behind `MAIL FROM:`.
    pub mail: Vec<u8>,
    /// What stood behind each `RCPT TO:`.
    pub rcpt: Vec<Vec<u8>>,
    /// The content as it came, dots still doubled, up to the final dot.
    pub raw: Vec<u8>,
}

impl Taken {
    /// The content, one dot taken from each line that begins with one.
    pub fn content(&self) -> Vec<u8> {
        let lines = self.raw.split_inclusive(|byte| *byte == b'\n');
        lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
    }

    /// Nothing in it that any server might take for something else.
    pub fn is_clean(&self) -> bool {
        let bare = |at: usize| match self.raw[at] {
            b'\r' => self.raw.get(at + 1) != Some(&b'\n'),
            b'\n' => at == 0 || self.raw[at - 1] != b'\r',
            byte => byte == 0,
        };
        !(0..self.raw.len()).any(bare)
    }
}

/// The running server. Its threads end with the test's process.
pub struct LaxUpstream {
    address: SocketAddr,
    shelf: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
    commands: Vec<Vec<u8>>,
}

impl LaxUpstream {
    /// Listens on a free port of loopback.
    pub fn start() -> LaxUpstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("the address just bound");
        let shelf = Arc::new(Shelf::default());
        let kept = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &shelf));
            }
        });
        LaxUpstream { address, shelf }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The configuration of an upstream that is this server.
    pub fn upstream(&self, name: &str) -> String {
        plain_upstream(name, self.address)
    }

    /// Waits for that many messages at least, and returns all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Taken> {
        let seen = self.shelf.seen.lock().expect("no session panics with the lock");
        let waiting = self.shelf.more.wait_timeout_while(seen, PATIENCE, |seen| seen.taken.len() < count);
        let (seen, timeout) = waiting.expect("no session panics with the lock");
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} for {count} messages, {} came", seen.taken.len());
        seen.taken.clone()
    }

    /// Waits for that many messages; there must be no more. Returns the last one.
    #[track_caller]
    pub fn wait_for_exactly(&self, count: usize) -> Taken {
        let mut taken = self.wait_for(count);
        assert_eq!(taken.len(), count, "one message became several: {:#?}", &taken[count - 1..]);
        taken.remove(count - 1)
    }

    /// Every command line of all sessions, without its end.
    pub fn commands(&self) -> Vec<Vec<u8>> {
        self.shelf.seen.lock().expect("no session panics with the lock").commands.clone()
    }
}

struct Session<'a> {
    stream: TcpStream,
    shelf: &'a Shelf,
    /// Read and not used yet.
    input: Vec<u8>,
    /// The last line ended with CR: a LF now belongs to it.
    after_cr: bool,
}

fn serve(stream: TcpStream, shelf: &Shelf) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = Session { stream, shelf, input: Vec::new(), after_cr: false };
    session.say("220 lax.test ESMTP")?;
    let mut taken = Taken::default();
    loop {
        let line = session.line()?;
        shelf.seen.lock().expect("no session panics with the lock").commands.push(line.clone());
        let verb = line.iter().take(4).map(u8::to_ascii_uppercase).collect::<Vec<u8>>();
        let argument = || {
            let colon = line.iter().position(|byte| *byte == b':').map_or(line.len(), |at| at + 1);
            line[colon..].to_vec()
        };
        match verb.as_slice() {
            b"EHLO" => {
                session.say("250-lax.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8")?
            }
            b"MAIL" => {
                taken = Taken { mail: argument(), ..Taken::default() };
                session.say("250 2.1.0 ok")?;
            }
            b"RCPT" => {
                taken.rcpt.push(argument());
                session.say("250 2.1.5 ok")?;
            }
            b"DATA" => {
                session.say("354 go on")?;
                taken.raw = session.content()?;
                let mut seen = shelf.seen.lock().expect("no session panics with the lock");
                seen.taken.push(std::mem::take(&mut taken));
                drop(seen);
                shelf.more.notify_all();
                session.say("250 2.0.0 taken")?;
            }
            b"QUIT" => return session.say("221 2.0.0 bye"),
            _ => session.say("250 2.0.0 whatever")?,
        }
    }
}

impl Session<'_> {
    fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())
    }

    /// One byte. The LF of a CRLF that has ended a line already is none.
    fn byte(&mut self) -> io::Result<u8> {
        loop {
            if self.input.is_empty() {
                let mut buffer = [0; 16 * 1024];
                let count = self.stream.read(&mut buffer)?;
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // Taken from the back.
                self.input.extend(buffer[..count].iter().rev());
            }
            let byte = self.input.pop().expect("it is not empty");
            if !(std::mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n') {
                return Ok(byte);
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\r' | b'\n' => return Ok(line),
                byte => line.push(byte),
            }
        }
    }

    /// Every byte up to a dot alone on a line. The LF of CRLF is a byte of the content like any other.
    fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content: Vec<u8> = vec![b'\n'];
        loop {
            let byte = self.raw_byte()?;
            content.push(byte);
            if let [.., b'\r' | b'\n', b'.', b'\r' | b'\n'] = content[..] {
                self.after_cr = byte == b'\r';
                content.truncate(content.len() - 2);
                content.remove(0);
                return Ok(content);
            }
        }
    }

    /// A byte of a content. Only the LF that belongs to the CR of DATA is none.
    fn raw_byte(&mut self) -> io::Result<u8> {
        let byte = self.byte()?;
        self.after_cr = false;
        Ok(byte)
    }
}
