//! A listener between a client and a server that passes every byte on and keeps the messages that the client sent, so
//! that what a server got can be compared with what a program put on the wire, not with what it was asked to send.

use super::PATIENCE;
use super::recorder::{Recorded, content};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The running listener. Its threads end with the test's process.
pub struct Tap {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Recorded>>>,
}

impl Tap {
    /// In front of that server, on a free port of loopback. In clear text only, and without BDAT.
    pub fn start(server: SocketAddr) -> Tap {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("the address just bound");
        let messages = Arc::<Mutex<Vec<Recorded>>>::default();
        let kept = Arc::clone(&messages);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let messages = Arc::clone(&kept);
                std::thread::spawn(move || pass_on(client, server, &messages));
            }
        });
        Tap { address, messages }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The messages that clients have sent up to the final dot, in that order, as a recorder shows them.
    pub fn messages(&self) -> Vec<Recorded> {
        self.messages.lock().expect("no session panics with the lock").clone()
    }
}

fn pass_on(client: TcpStream, server: SocketAddr, messages: &Mutex<Vec<Recorded>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    let (mut replies, mut back) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut replies, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let _ = keep(&mut BufReader::new(client), &mut server.try_clone()?, messages);
    server.shutdown(Shutdown::Write)
}

/// Passes on line by line, and each content in one piece, once it has been kept.
fn keep(
    client: &mut impl BufRead,
    server: &mut TcpStream,
    messages: &Mutex<Vec<Recorded>>,
) -> io::Result<()> {
    let mut message = Recorded { mail: String::new(), rcpt: Vec::new(), content: Vec::new() };
    let mut line = Vec::new();
    loop {
        line.clear();
        if client.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        server.write_all(&line)?;
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        let argument =
            || command.split_once(':').map_or("", |(_, argument)| argument).trim_start().to_owned();
        match command.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "MAIL" => message = Recorded { mail: argument(), rcpt: Vec::new(), content: Vec::new() },
            "RCPT" => message.rcpt.push(argument()),
            "DATA" => {
                let raw = raw_content(client)?;
                message.content = content(&mut &raw[..])?;
                messages.lock().expect("no session panics with the lock").push(message.clone());
                server.write_all(&raw)?;
            }
            _ => {}
        }
    }
}

/// The content with its dots doubled, up to the final one.
fn raw_content(client: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    while raw != b".\r\n" && !raw.ends_with(b"\r\n.\r\n") {
        if client.read_until(b'\n', &mut raw)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(raw)
}
