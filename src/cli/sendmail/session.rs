//! `-bs`: a session between standard input and output and the server. Nothing is changed in it but line ends: where the first
//! line ends with LF alone, so do all, and the server, for which only CRLF.CRLF ends a message, gets CRLF.

use super::exit::{Failed, IOERR, OSERR, TEMPFAIL};
use crate::cli::small_runtime;
use crate::config::settings::Upstream;
use std::io::{self, Read, Write};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

/// How long the server may take to answer.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// Bytes that are copied at a time.
const PIECE: usize = 64 * 1024;

/// Runs until the server closes. Standard input that ends is the end of what the server hears, not of what it says.
pub(super) fn run(server: &Upstream) -> Result<u8, Failed> {
    let runtime = small_runtime().map_err(|_| Failed(OSERR, "no runtime can be started".to_owned()))?;
    let done = runtime.block_on(async {
        let stream = connect(server).await.map_err(|why| {
            let why = format!("{}:{}: {why}", server.host, server.port);
            // Who speaks SMTP is told in SMTP, too.
            let _ = write!(io::stdout(), "421 4.4.1 {why}\r\n");
            Failed(TEMPFAIL, why)
        })?;
        let (from_server, mut to_server) = stream.into_split();
        let (mut input, mut line_ends) = (standard_input(), LineEnds::default());
        let (greeted, greeting) = oneshot::channel();
        let say = async {
            // A server refuses a client that speaks first, and what a script writes is there at once.
            let _ = greeting.await;
            while let Some(piece) = input.recv().await {
                to_server.write_all(&line_ends.of(piece)).await?;
            }
            to_server.shutdown().await
        };
        let listen = print(from_server, greeted);
        tokio::pin!(listen);
        tokio::select! {
            // Whether it was said or could not be: the server says when the session is over.
            _ = say => listen.await,
            heard = &mut listen => heard,
        }
        .map_err(|error| Failed(IOERR, format!("the session broke off: {error}")))
    });
    // The thread that reads standard input may wait for ever.
    runtime.shutdown_background();
    match done? {
        // The content has no end, so the server has nothing of it.
        Some(354) => {
            Err(Failed(TEMPFAIL, "the message was not ended by a single dot; nothing was sent".to_owned()))
        }
        _ => Ok(0),
    }
}

/// Line ends of the client, by its first one.
#[derive(Default)]
struct LineEnds {
    /// Known from the first line end on.
    are_bare: Option<bool>,
    after_cr: bool,
}

impl LineEnds {
    fn of(&mut self, piece: Vec<u8>) -> Vec<u8> {
        if self.are_bare.is_none()
            && let Some(end) = piece.iter().position(|byte| *byte == b'\n')
        {
            let after_cr = if end == 0 { self.after_cr } else { piece[end - 1] == b'\r' };
            self.are_bare = Some(!after_cr);
        }
        let mut whole = Vec::with_capacity(piece.len());
        for byte in piece {
            if byte == b'\n' && !self.after_cr && self.are_bare == Some(true) {
                whole.push(b'\r');
            }
            whole.push(byte);
            self.after_cr = byte == b'\r';
        }
        whole
    }
}

async fn connect(server: &Upstream) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect((server.host.as_str(), server.port));
    tokio::time::timeout(CONNECT_TIME, connecting)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Standard input piece by piece, from a thread of its own, because reading it cannot be given up.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = io::stdin().read(&mut piece) {
            if sender.blocking_send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the server says, at once, because the other side waits for it. `greeted` hears of the end of its greeting. Returns the
/// code of its last line.
async fn print(mut from_server: OwnedReadHalf, greeted: oneshot::Sender<()>) -> io::Result<Option<u16>> {
    let (mut piece, mut line, mut last, mut greeted) = (vec![0; PIECE], Vec::new(), None, Some(greeted));
    loop {
        let read = from_server.read(&mut piece).await?;
        if read == 0 {
            return Ok(last);
        }
        for byte in &piece[..read] {
            match byte {
                b'\n' => {
                    let code = line.get(..3).and_then(|code| str::from_utf8(code).ok());
                    last = code.and_then(|code| code.parse().ok());
                    // Another line of the same reply follows a hyphen (RFC 5321, 4.2.1).
                    if line.get(3) != Some(&b'-')
                        && let Some(greeted) = greeted.take()
                    {
                        // Nobody waits for it where standard input has ended.
                        let _ = greeted.send(());
                    }
                    line.clear();
                }
                byte if line.len() < 4 => line.push(*byte),
                _ => {}
            }
        }
        let mut out = io::stdout().lock();
        out.write_all(&piece[..read])?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_follow_the_first_one() {
        let said = |pieces: &[&str]| {
            let mut ends = LineEnds::default();
            let whole = pieces.iter().flat_map(|piece| ends.of(piece.as_bytes().to_vec()));
            String::from_utf8(whole.collect()).unwrap()
        };
        assert_eq!(said(&["HELO x\nDA", "TA\n.\n"]), "HELO x\r\nDATA\r\n.\r\n");
        assert_eq!(said(&["HELO x\n", "a\r\nb\r", "\nc\n"]), "HELO x\r\na\r\nb\r\nc\r\n");
        for untouched in [&["HELO x\r\nBDAT 2\r\n\n\n"][..], &["HELO x\r", "\na\n"]] {
            assert_eq!(said(untouched), untouched.concat());
        }
    }
}
