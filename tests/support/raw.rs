//! A client that sends exactly the bytes it is given, and reads replies.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

/// One session with a server.
pub struct RawClient {
    output: TcpStream,
    input: BufReader<TcpStream>,
}

impl RawClient {
    /// Connects and reads the greeting.
    #[track_caller]
    pub fn connect(server: SocketAddr) -> RawClient {
        let output = TcpStream::connect(server).expect("the server listens");
        output.set_nodelay(true).expect("a connection");
        output.set_read_timeout(Some(PATIENCE)).expect("a connection");
        let input = BufReader::new(output.try_clone().expect("a connection"));
        let mut client = RawClient { output, input };
        client.expect("220");
        client
    }

    /// The same, and EHLO.
    #[track_caller]
    pub fn greeted(server: SocketAddr) -> RawClient {
        let mut client = RawClient::connect(server);
        client.command("EHLO client.test", "250");
        client
    }

    /// Sends these bytes at once.
    #[track_caller]
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.output.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// One whole reply, its lines joined by line feeds. Empty where the server has closed.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            self.input.read_until(b'\n', &mut line).expect("a reply");
            let line = String::from_utf8_lossy(&line);
            reply.push_str(line.trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// The next reply, which must begin like that.
    #[track_caller]
    pub fn expect(&mut self, start: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(start), "expected {start}, got {reply:?}");
        reply
    }

    /// A command line and its reply, which must begin like that.
    #[track_caller]
    pub fn command(&mut self, line: &str, start: &str) -> String {
        self.say(format!("{line}\r\n"));
        self.expect(start)
    }

    /// A transaction up to 354; what stands behind `MAIL FROM:` and each `RCPT TO:` is given whole.
    #[track_caller]
    pub fn begin_data(&mut self, mail: &str, recipients: &[&str]) {
        let recipients: String = recipients.iter().map(|one| format!("RCPT TO:{one}\r\n")).collect();
        let count = recipients.lines().count();
        self.say(format!("MAIL FROM:{mail}\r\n{recipients}DATA\r\n"));
        for _ in 0..=count {
            self.expect("250");
        }
        self.expect("354");
    }

    /// A whole transaction with one recipient; the content is sent as it is given, its end included. Returns the reply.
    #[track_caller]
    pub fn transact(&mut self, content: &[u8]) -> String {
        self.begin_data("<a@x.test>", &["<b@y.test>"]);
        self.say(content);
        self.reply()
    }
}
