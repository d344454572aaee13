//! An SMTP client that says one thing at a time, or exactly the bytes it is given, for tests that stop in the middle.

use super::PATIENCE;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// A session. Dropped, it closes without a word.
pub struct Talk(BufReader<TcpStream>);

impl Talk {
    /// Connects, and waits for the greeting.
    #[track_caller]
    pub fn connect(server: SocketAddr) -> Talk {
        let mut talk = Talk::connect_only(server);
        talk.hear("220");
        talk
    }

    /// Connects and waits for nothing.
    #[track_caller]
    pub fn connect_only(server: SocketAddr) -> Talk {
        Talk::on(TcpStream::connect(server).expect("somebody listens there"))
    }

    /// From another address of this machine, greeted and introduced.
    #[track_caller]
    pub fn hello_from(client: IpAddr, server: SocketAddr) -> Talk {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(client, 0).into()).expect("an address of this machine");
        socket.connect(&server.into()).expect("somebody listens there");
        let mut talk = Talk::on(socket.into());
        talk.hear("220");
        talk.say("EHLO c.test", "250");
        talk
    }

    fn on(stream: TcpStream) -> Talk {
        // Small pieces one after the other: Nagle and delayed acknowledgements would make each of them wait.
        stream.set_nodelay(true).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        Talk(BufReader::new(stream))
    }

    /// Greeted, and introduced.
    #[track_caller]
    pub fn hello(server: SocketAddr) -> Talk {
        let mut talk = Talk::connect(server);
        talk.say("EHLO c.test", "250");
        talk
    }

    /// Says a line and returns the reply, which has to begin so.
    #[track_caller]
    pub fn say(&mut self, line: &str, expected: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.hear(expected)
    }

    /// Sends bytes and waits for nothing.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// The next reply, which has to begin so.
    #[track_caller]
    pub fn hear(&mut self, expected: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(expected), "{expected} expected, {reply:?} came");
        reply
    }

    /// The next reply, its lines joined by line feeds; empty when the server has closed.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            match self.0.read_until(b'\n', &mut line) {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return String::new(),
                read => read.expect("a reply in time"),
            };
            reply.push_str(String::from_utf8_lossy(&line).trim_end());
            if line.get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// Whether the server says nothing for that long. To be asked where silence is expected: a busy machine is silent too.
    #[track_caller]
    pub fn is_silent_for(&mut self, time: std::time::Duration) -> bool {
        assert!(self.0.buffer().is_empty(), "something was said that nobody has read");
        let stream = self.0.get_mut();
        stream.set_read_timeout(Some(time)).expect("a timeout that is not zero");
        let silent = stream.peek(&mut [0]).is_err();
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        silent
    }

    /// Waits until the server has closed.
    #[track_caller]
    pub fn closed(&mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            read => {
                read.expect("the end in time");
            }
        }
    }

    /// MAIL, RCPT and DATA for one recipient, up to 354; or the reply of MAIL, RCPT or DATA that was another.
    #[track_caller]
    pub fn envelope(&mut self, recipient: &str) -> Result<(), String> {
        let rcpt = format!("RCPT TO:<{recipient}>");
        for (line, expected) in [("MAIL FROM:<shop@a.test>", "250"), (&rcpt, "250"), ("DATA", "354")] {
            self.send(format!("{line}\r\n"));
            let reply = self.reply();
            if !reply.starts_with(expected) {
                return Err(reply);
            }
        }
        Ok(())
    }

    /// A whole message of about `size` bytes for one recipient: the reply that decided about it.
    #[track_caller]
    pub fn mail(&mut self, recipient: &str, size: usize) -> String {
        if let Err(refusal) = self.envelope(recipient) {
            return refusal;
        }
        self.send(format!("Subject: {recipient}\r\n\r\n"));
        let lines = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";
        self.send(lines.repeat(size / lines.len()));
        self.send(".\r\n");
        self.reply()
    }

    /// A transaction up to 354; what stands behind `MAIL FROM:` and each `RCPT TO:` is given whole.
    #[track_caller]
    pub fn begin_data(&mut self, mail: &str, recipients: &[&str]) {
        let recipients: String = recipients.iter().map(|one| format!("RCPT TO:{one}\r\n")).collect();
        let count = recipients.lines().count();
        self.send(format!("MAIL FROM:{mail}\r\n{recipients}DATA\r\n"));
        for _ in 0..=count {
            self.hear("250");
        }
        self.hear("354");
    }

    /// A whole transaction with one recipient; the content is sent as it is given, its end included. Returns the reply.
    #[track_caller]
    pub fn transact(&mut self, content: &[u8]) -> String {
        self.begin_data("<a@x.test>", &["<b@y.test>"]);
        self.send(content);
        self.reply()
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }
}
