//! An upstream that takes large messages slowly, and keeps nothing of them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The running server. Its threads end with the test's process.
pub struct Swallow {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl Swallow {
    /// Rests that long before every 64 KiB of content.
    pub fn start(rest: Duration) -> Swallow {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("the address just bound");
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(stream, rest, &count));
            }
        });
        Swallow { address, taken }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages that it said 250 to.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, rest: Duration, taken: &AtomicUsize) -> io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut input = BufReader::with_capacity(64 * 1024, stream);
    answers.write_all(b"220 swallow.test ESMTP\r\n")?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default() {
            b"EHLO" => answers.write_all(b"250-swallow.test\r\n250 SIZE\r\n")?,
            b"DATA" => {
                answers.write_all(b"354 slowly\r\n")?;
                content(&mut input, rest)?;
                taken.fetch_add(1, Ordering::Relaxed);
                answers.write_all(b"250 2.0.0 gone\r\n")?;
            }
            _ => answers.write_all(b"250 2.0.0 ok\r\n")?,
        }
    }
}

/// Reads up to CRLF.CRLF, of which the last five bytes tell.
fn content(input: &mut impl BufRead, rest: Duration) -> io::Result<()> {
    let mut tail = Vec::new();
    while !tail.ends_with(b"\r\n.\r\n") {
        std::thread::sleep(rest);
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        tail.extend_from_slice(&piece[piece.len().saturating_sub(5)..]);
        tail.drain(..tail.len().saturating_sub(5));
        let read = piece.len();
        input.consume(read);
    }
    Ok(())
}
