//! The built-in upstream: mailin's protocol state machine and the I/O around it.
//!
//! mailin's parser knows no null reverse-path and no MAIL parameter but BODY, so `plain_command` brings commands into
//! the form that it knows, and the answer to EHLO, which offers PIPELINING, SIZE, 8BITMIME and SMTPUTF8, is ours.
//! Content comes out as it was sent, dot-unstuffed, lines of any length in pieces of bounded size.
//!
//! Limits: a path that holds a space or an angle bracket (a quoted local part may) is refused; paths must be UTF-8;
//! there is no TLS, AUTH or CHUNKING; commands end at CRLF; nothing times out; each recipient is refused for itself, the
//! message as a whole never, except that it is answered 452, and the connection closed, when it cannot be dumped
//! (mailin stays in DATA after an error at its end).

use super::receiver::Receiver;
use mailin::{Action, SessionBuilder};
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The longest piece of a line that is held in memory; a longer command ends the session.
const PIECE: usize = 64 * 1024;

/// Stands for the null reverse-path, where mailin wants at least one character.
pub(super) const NULL_PATH: &str = "\u{0}";

/// What EHLO offers, behind the line with our name.
const EXTENSIONS: &str = "250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";

/// What a sink does.
#[derive(Clone)]
pub struct SinkOptions {
    /// Where it listens; port 0 = any free one.
    pub listen: SocketAddr,
    /// Share of recipients answered 451.
    pub refuse: f64,
    /// Share of recipients answered 550.
    pub reject: f64,
    /// Before the answer to the end of a message.
    pub delay: Duration,
    /// Of the refusals; 0 = random.
    pub seed: u64,
    /// Where each message is written as `<number>.eml`, exactly as it came, dot-unstuffed.
    pub dump: Option<PathBuf>,
    /// For the greeting.
    pub name: String,
    /// Told of each message and each refusal, in one printable line.
    pub say: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Default for SinkOptions {
    fn default() -> SinkOptions {
        SinkOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            refuse: 0.0,
            reject: 0.0,
            delay: Duration::ZERO,
            seed: 0,
            dump: None,
            name: "sink.localhost".to_owned(),
            say: Arc::new(|_| {}),
        }
    }
}

/// A built-in upstream.
#[derive(Debug)]
pub struct Sink;

impl Sink {
    /// Listens and serves in the background of the current tokio runtime until it is stopped or dropped.
    ///
    /// # Errors
    /// The address cannot be listened on, or the folder for dumps cannot be made.
    pub async fn start(options: SinkOptions) -> io::Result<RunningSink> {
        if let Some(folder) = &options.dump {
            std::fs::create_dir_all(folder)?;
        }
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let random = match options.seed {
            0 => fastrand::Rng::new(),
            seed => fastrand::Rng::with_seed(seed),
        };
        let shared = Shared {
            options,
            random: Mutex::new(random),
            taken: AtomicU64::new(0),
            dumped: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        tasks.close();
        Ok(RunningSink { address, shared, tasks, _stop_on_drop: stop.clone().drop_guard(), stop })
    }
}

/// A sink that serves.
pub struct RunningSink {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl RunningSink {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages answered 250 so far.
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Closes the listener and every connection. A message under way is not answered.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What all sessions of a sink have in common.
pub(super) struct Shared {
    pub(super) options: SinkOptions,
    pub(super) random: Mutex<fastrand::Rng>,
    pub(super) taken: AtomicU64,
    /// Messages dumped, or the number of the last file that was in the way.
    pub(super) dumped: AtomicU64,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, most likely: the error would come again at once and keep a core busy.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                // A client that goes away is no news.
                _ = serve(stream, peer.ip(), shared) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// One session: lines in, mailin's answers out; answers to pipelined commands leave together.
async fn serve(stream: TcpStream, client: IpAddr, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(PIECE, stream);
    let mut session =
        SessionBuilder::new(&shared.options.name).build(client, Receiver::new(Arc::clone(&shared)));
    let mut answers = session.greeting().buffer()?;
    let mut line = Vec::new();
    // In DATA; and: the line is not its beginning.
    let (mut in_data, mut goes_on) = (false, false);
    loop {
        if stream.buffer().is_empty() {
            stream.write_all(&answers).await?;
            answers.clear();
        }
        let whole = read_piece(&mut stream, &mut line).await?;
        if line.is_empty() {
            return Ok(());
        }
        if !in_data && !whole {
            answers.extend_from_slice(b"500 5.5.2 The line is too long\r\n");
            return stream.write_all(&answers).await;
        }
        let answer = match in_data {
            // mailin takes away a dot at the beginning of what it is given, so what is no beginning gets one more.
            true if goes_on && line.starts_with(b".") => session.process(&[b".", line.as_slice()].concat()),
            true => session.process(&line),
            false => session.process(&plain_command(&line)),
        };
        if in_data && answer.action != Action::NoReply {
            tokio::time::sleep(shared.options.delay).await;
        }
        if answer.code == 250 && starts_with(&line, "EHLO ") {
            write!(answers, "250-{}\r\n{EXTENSIONS}", shared.options.name)?;
        } else {
            answer.write_to(&mut answers)?;
        }
        if answer.action == Action::Close {
            return stream.write_all(&answers).await;
        }
        in_data = answer.code == 354 || (in_data && answer.action == Action::NoReply);
        goes_on = in_data && !whole;
    }
}

/// Reads a line, or as much of it as [`PIECE`] allows; true where it is there to its end. Nothing at the end of input.
async fn read_piece(stream: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let buffer = stream.fill_buf().await?;
        if buffer.is_empty() {
            // Half a command or half a message at the end is nothing.
            line.clear();
            return Ok(true);
        }
        let room = &buffer[..buffer.len().min(PIECE - line.len())];
        let end = memchr::memchr(b'\n', room);
        let taken = end.map_or(room.len(), |at| at + 1);
        line.extend_from_slice(&room[..taken]);
        stream.consume(taken);
        if end.is_some() || line.len() == PIECE {
            return Ok(end.is_some());
        }
    }
}

fn starts_with(line: &[u8], command: &str) -> bool {
    line.get(..command.len()).is_some_and(|start| start.eq_ignore_ascii_case(command.as_bytes()))
}

/// MAIL and RCPT in the form that mailin's parser knows: a path that is never empty, and no parameter but BODY. Every
/// other command as it is.
fn plain_command(line: &[u8]) -> Cow<'_, [u8]> {
    let verb = match line {
        _ if starts_with(line, "MAIL FROM:") => "MAIL FROM:",
        _ if starts_with(line, "RCPT TO:") => "RCPT TO:",
        _ => return Cow::Borrowed(line),
    };
    let rest = line[verb.len()..].trim_ascii_start();
    let Some(end) = rest.iter().position(|byte| *byte == b'>') else { return Cow::Borrowed(line) };
    let (path, parameters) = (&rest[..end], rest[end + 1..].to_ascii_uppercase());
    let path = if path == b"<" { [b"<", NULL_PATH.as_bytes()].concat() } else { path.to_vec() };
    let eight_bit = memchr::memmem::find(&parameters, b" BODY=8BITMIME").is_some();
    let body: &[u8] = if eight_bit { b"> BODY=8BITMIME\r\n" } else { b">\r\n" };
    Cow::Owned([verb.as_bytes(), &path, body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_brought_into_the_form_that_the_parser_knows() {
        for (sent, given) in [
            ("MAIL FROM:<> SIZE=10\r\n", "MAIL FROM:<\0>\r\n"),
            ("mail from: <a@x> BODY=7BIT SIZE=1\r\n", "MAIL FROM:<a@x>\r\n"),
            ("MAIL FROM:<ü@x> smtputf8 body=8bitmime\r\n", "MAIL FROM:<ü@x> BODY=8BITMIME\r\n"),
            ("RCPT TO:<b@y> NOTIFY=NEVER\r\n", "RCPT TO:<b@y>\r\n"),
            ("MAIL FROM:a@x\r\n", "MAIL FROM:a@x\r\n"),
            ("DATA\r\n", "DATA\r\n"),
        ] {
            assert_eq!(plain_command(sent.as_bytes()), given.as_bytes(), "{sent:?}");
        }
    }
}
