//! The clients: own ones, which read every reply, and bursts of Postfix's `smtp-source`.
//!
//! An own client goes on with a number until it is acknowledged, or gives it up, as real ones do.

use super::ledger::{Ledger, Offered};
use super::letter;
use crate::support::postfix_tool;
use postroom::mail::QueueId;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Before the next try after a refusal or a lost connection.
const PAUSE: Duration = Duration::from_millis(30);
/// Messages in one burst of smtp-source.
const BURST: u64 = 100;

/// Who sends where, until told to stop.
pub struct Sender<'a> {
    /// Of the proxy.
    pub server: SocketAddr,
    /// What is noted.
    pub ledger: &'a Ledger,
    /// No new numbers.
    pub stop: &'a AtomicBool,
}

impl Sender<'_> {
    /// Sends numbered messages.
    pub fn send(&self, mut dice: fastrand::Rng) {
        let mut waiting = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Ok(mut session) = Session::open(self.server) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            for _ in 0..dice.u32(1..50) {
                let number = waiting.take().unwrap_or_else(|| self.ledger.numbers(1));
                let letter = letter::write(number, size(&mut dice));
                let style = dice.u8(0..3);
                // Until the reply is there, what became of it is unknown.
                self.ledger.offer(number, |note| note.unknown += 1);
                let answer = session.transact(&letter::recipient(number), &letter, style, &mut dice);
                let lost = answer.is_err();
                self.ledger.offer(number, |note| note_answer(note, answer));
                let done = self.ledger_has(number);
                if !done {
                    // Where this fails, so will the next transaction.
                    let _ = session.reset();
                    // Most clients try again, some do not.
                    waiting = (dice.u8(0..4) > 0).then_some(number);
                    std::thread::sleep(PAUSE);
                }
                if lost || self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }

    fn ledger_has(&self, number: u64) -> bool {
        let mut done = false;
        self.ledger.offer(number, |note| done = note.acknowledged.is_some());
        done
    }

    /// Runs smtp-source again and again. What it sent counts as acknowledged where it says so of all of it.
    pub fn burst(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let base = self.ledger.numbers(BURST + 1);
            let (count, length) = (BURST.to_string(), letter::BURST_LENGTH.to_string());
            let mut command = Command::new(postfix_tool("smtp-source"));
            command.args(["-N", "-s", "4", "-m", &count, "-l", &length, "-f", letter::SENDER]);
            command.args(["-t", &format!("burst-{base}@soak.test"), &self.server.to_string()]);
            (base + 1..=base + BURST).for_each(|number| self.ledger.offer(number, |note| note.unknown += 1));
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            let whole = status.expect("smtp-source; ./scripts/setup installs what the tests need").success();
            self.ledger.count(if whole {
                "bursts of smtp-source"
            } else {
                "bursts of smtp-source cut short"
            });
            if whole {
                let note = |note: &mut Offered| (note.unknown, note.acknowledged) = (0, Some(None));
                (base + 1..=base + BURST).for_each(|number| self.ledger.offer(number, note));
            }
            std::thread::sleep(PAUSE * 10);
        }
    }
}

/// The try that counted as unknown so far has had this answer.
fn note_answer(note: &mut Offered, answer: io::Result<Result<QueueId, String>>) {
    match answer {
        Ok(Ok(id)) => (note.unknown, note.acknowledged) = (note.unknown - 1, Some(Some(id))),
        Ok(Err(_)) => (note.unknown, note.refused) = (note.unknown - 1, note.refused + 1),
        Err(_) => {}
    }
}

/// Bytes: mostly small, some of a few hundred KiB, a few of several MiB.
fn size(dice: &mut fastrand::Rng) -> usize {
    match dice.u32(0..2000) {
        0 => dice.usize(2 << 20..6 << 20),
        1..40 => dice.usize(64 << 10..300 << 10),
        40..300 => dice.usize(4 << 10..64 << 10),
        _ => dice.usize(50..4000),
    }
}

struct Session {
    reader: BufReader<TcpStream>,
}

impl Session {
    fn open(server: SocketAddr) -> io::Result<Session> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        // Longer than a full disk lasts.
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut session = Session { reader: BufReader::new(stream) };
        session.expect("220")?;
        session.write(b"EHLO client.test\r\n")?;
        session.expect("250")?;
        Ok(session)
    }

    /// Sends one message. An error: nobody knows what became of it, and the session is over.
    fn transact(
        &mut self,
        recipient: &str,
        letter: &[u8],
        style: u8,
        dice: &mut fastrand::Rng,
    ) -> io::Result<Result<QueueId, String>> {
        let mail = format!("MAIL FROM:<{}> SIZE={}\r\n", letter::SENDER, letter.len());
        let rcpt = format!("RCPT TO:<{recipient}>\r\n");
        match style {
            // Step by step.
            0 => {
                for line in [&*mail, &*rcpt, "DATA\r\n"] {
                    self.write(line.as_bytes())?;
                    let reply = self.reply()?;
                    if !reply.starts_with(['2', '3']) {
                        return Ok(Err(reply));
                    }
                }
            }
            // RFC 2920.
            1 => {
                self.write(format!("{mail}{rcpt}DATA\r\n").as_bytes())?;
                let replies = [self.reply()?, self.reply()?, self.reply()?];
                if !replies[2].starts_with("354") {
                    return Ok(Err(replies.join(" ")));
                }
            }
            // RFC 3030, everything at once.
            _ => return self.chunked(mail + &rcpt, letter, dice),
        }
        self.write(&letter::stuffed(letter))?;
        self.reply().map(|reply| queue_id(&reply))
    }

    fn chunked(
        &mut self,
        commands: String,
        letter: &[u8],
        dice: &mut fastrand::Rng,
    ) -> io::Result<Result<QueueId, String>> {
        let (mut out, mut rest, mut replies) = (commands.into_bytes(), letter, 2);
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(dice.usize(1..=rest.len()));
            let last = if later.is_empty() { " LAST" } else { "" };
            out.extend_from_slice(format!("BDAT {}{last}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            (rest, replies) = (later, replies + 1);
        }
        self.write(&out)?;
        let replies: io::Result<Vec<String>> = (0..replies).map(|_| self.reply()).collect();
        Ok(queue_id(replies?.last().map_or("", |last| last)))
    }

    fn reset(&mut self) -> io::Result<()> {
        self.write(b"RSET\r\n")?;
        self.expect("250")
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || !line.ends_with("\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    fn expect(&mut self, code: &str) -> io::Result<()> {
        let reply = self.reply()?;
        if reply.starts_with(code) { Ok(()) } else { Err(io::Error::other(reply)) }
    }
}

/// The acknowledgement, and nothing else.
fn queue_id(reply: &str) -> Result<QueueId, String> {
    let id = reply.strip_prefix("250 2.0.0 queued as ").and_then(|id| id.trim_end().parse().ok());
    id.ok_or_else(|| reply.to_owned())
}
