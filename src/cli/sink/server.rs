//! The built-in upstream: mailin's protocol state machine and the I/O around it.
//!
//! mailin's parser knows no null reverse-path and no MAIL parameter but BODY, so `for_mailin` brings commands into the form
//! that it knows, and the answer to EHLO, which offers PIPELINING, SIZE, 8BITMIME and SMTPUTF8, is ours. Content comes out as it was sent, dot-unstuffed, lines of any length in pieces of bounded size.
//!
//! Limits: a path that holds a space or an angle bracket (a quoted local part may) is refused; paths must be UTF-8;
//! there is no TLS, AUTH or CHUNKING; commands end at CRLF; nothing times out; each recipient is refused for itself, the
//! message as a whole never, except that it is answered 452, and the connection closed, when it cannot be dumped
//! (mailin stays in DATA after an error at its end).

use super::command::{for_mailin, starts_with};
use super::options::SinkOptions;
use super::receiver::{Receiver, Shared};
use mailin::{Action, SessionBuilder};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The longest piece of a line that is held in memory; a longer command ends the session.
const PIECE: usize = 64 * 1024;

/// What EHLO offers, behind the line with our name.
const EXTENSIONS: &str = "250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";

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
        let shared = Arc::new(Shared::new(options, random));
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
        self.shared.taken()
    }

    /// Closes the listener and every connection. A message under way is not answered.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
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
                // A client that disconnects is no error.
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
            false => session.process(&for_mailin(&line)),
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
