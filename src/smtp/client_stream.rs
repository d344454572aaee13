//! The bytes of one session, in both directions: every read and write has a deadline and ends when the server stops.
//!
//! Replies are collected and sent in one write, before the session waits for the client. Buffers are small while a session
//! waits for commands (ten thousand idle sessions need little memory) and grow only while content comes.

use super::inbound_stream::InboundStream;
use super::reply::ReplyToClient;
use bytes::{Buf, BytesMut};
use memchr::memchr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// The longest command line that is accepted, line end included. RFC 5321 section 4.5.3.1.4 asks for 512.
const MAX_LINE: usize = 4096;
/// So much of a line that is too long is read and dropped; a longer one ends the session.
const MAX_SKIPPED: usize = 64 * 1024;
/// What is read at once while waiting for commands.
const COMMAND_READ: usize = 2048;
/// Replies to pipelined commands are collected up to this size.
const MAX_OUTPUT: usize = 16 * 1024;
/// How a TLS client begins: a handshake record of version 3 (RFC 8446 section 5.1).
const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];
/// How long the end of a session takes at most: sending the last reply, and reading on so that the reply arrives.
const LINGER: Duration = Duration::from_millis(500);

/// Why a session ends before QUIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SessionEnd {
    /// The client has closed the connection, or it broke.
    Closed,
    /// A deadline has passed.
    TimedOut,
    Stopping,
    /// A command line is longer than [`MAX_SKIPPED`].
    EndlessLine,
    /// The client begins a TLS handshake in place of a command line.
    TlsHello,
}

/// A command line that has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CommandLine {
    /// It is the first so many bytes of [`ClientStream::input`], line end included.
    Complete(usize),
    /// It was longer than [`MAX_LINE`] and has been dropped.
    TooLong,
}

/// Why a TLS handshake came to nothing. The connection is closed.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The session ends as it would without a handshake.
    Ended(SessionEnd),
    /// The two sides do not agree, or the client speaks no TLS.
    Failed(std::io::Error),
}

/// A connection to a client, with its buffers. The connection may be anything that reads and writes.
#[derive(Debug)]
pub(super) struct ClientStream<'s, S> {
    stream: &'s mut InboundStream<S>,
    input: BytesMut,
    output: Vec<u8>,
    /// The input buffer has grown for content.
    grown: bool,
    write_timeout: Duration,
    /// Ends every write, so that a client that does not read cannot delay the stop.
    grace_over: &'s CancellationToken,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> ClientStream<'s, S> {
    /// Nothing read or sent yet.
    pub(super) fn new(
        stream: &'s mut InboundStream<S>,
        write_timeout: Duration,
        grace_over: &'s CancellationToken,
    ) -> ClientStream<'s, S> {
        ClientStream {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            grown: false,
            write_timeout,
            grace_over,
        }
    }

    /// What has been read and not consumed.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    /// Drops so many bytes at the start of the input.
    pub(super) fn consume(&mut self, count: usize) {
        self.input.advance(count);
    }

    /// Sends the collected replies, then waits for the TLS handshake of the client. What it has sent before in clear text is
    /// dropped unread (CVE-2011-0411).
    pub(super) async fn start_tls(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<(), HandshakeError> {
        self.flush().await.map_err(HandshakeError::Ended)?;
        self.input = BytesMut::new();
        let handshake = async {
            tokio::select! {
                biased;
                done = self.stream.start_tls(config) => done.map_err(HandshakeError::Failed),
                () = stop.cancelled() => Err(HandshakeError::Ended(SessionEnd::Stopping)),
            }
        };
        let done = timeout_at(deadline, handshake).await;
        done.unwrap_or(Err(HandshakeError::Ended(SessionEnd::TimedOut)))
    }

    /// Waits for a whole command line.
    pub(super) async fn line(
        &mut self,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<CommandLine, SessionEnd> {
        let (mut searched, mut skipped) = (0, 0);
        loop {
            if let Some(found) = memchr(b'\n', &self.input[searched..]) {
                let length = searched + found + 1;
                if skipped == 0 && length <= MAX_LINE {
                    return Ok(CommandLine::Complete(length));
                }
                self.input.advance(length);
                return Ok(CommandLine::TooLong);
            }
            if skipped == 0 && self.input.starts_with(&TLS_HANDSHAKE) {
                return Err(SessionEnd::TlsHello);
            }
            searched = self.input.len();
            if skipped > 0 || searched > MAX_LINE {
                skipped += searched;
                searched = 0;
                self.input.clear();
            }
            if skipped > MAX_SKIPPED {
                return Err(SessionEnd::EndlessLine);
            }
            if self.grown && self.input.is_empty() {
                self.input = BytesMut::new();
                self.grown = false;
            }
            self.fill(COMMAND_READ, deadline, stop).await?;
        }
    }

    /// Sends the collected replies, then waits for more input, at most `want` bytes or a little more.
    pub(super) async fn fill(
        &mut self,
        want: usize,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<(), SessionEnd> {
        self.flush().await?;
        self.input.reserve(want);
        self.grown |= want > COMMAND_READ;
        let (stream, input) = (&mut *self.stream, &mut self.input);
        let read = async {
            tokio::select! {
                biased;
                read = stream.read_buf(input) => read.map_err(|_| SessionEnd::Closed),
                () = stop.cancelled() => Err(SessionEnd::Stopping),
            }
        };
        match timeout_at(deadline, read).await {
            Err(_) => Err(SessionEnd::TimedOut),
            Ok(Ok(0)) => Err(SessionEnd::Closed),
            Ok(read) => read.map(|_| ()),
        }
    }

    /// Whether the client has sent more than what was consumed; does not wait for it.
    pub(super) async fn has_more(&mut self) -> bool {
        if self.input.is_empty() {
            // Gives the runtime a chance to notice what has arrived on the socket: only then does a read find it.
            tokio::task::yield_now().await;
            self.input.reserve(COMMAND_READ);
            // An error comes again at the next read.
            let _ = futures_util::poll!(std::pin::pin!(self.stream.read_buf(&mut self.input)));
        }
        !self.input.is_empty()
    }

    /// Collects a reply, to be sent before the next wait for input.
    pub(super) async fn reply(&mut self, reply: &ReplyToClient) -> Result<(), SessionEnd> {
        reply.write_to(&mut self.output);
        if self.output.len() > MAX_OUTPUT { self.flush().await } else { Ok(()) }
    }

    /// Sends the collected replies in one write.
    pub(super) async fn flush(&mut self) -> Result<(), SessionEnd> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            tokio::select! {
                biased;
                written = send(self.stream, &self.output) => written.map_err(|_| SessionEnd::Closed),
                () = self.grace_over.cancelled() => Err(SessionEnd::Stopping),
            }
        };
        let written = timeout(self.write_timeout, write).await.unwrap_or(Err(SessionEnd::TimedOut));
        if self.output.capacity() > COMMAND_READ {
            self.output = Vec::new()
        } else {
            self.output.clear()
        }
        written
    }

    /// Sends the last reply and closes. `linger`: the client may still be sending. Then its input is read for a moment,
    /// because closing with unread input resets the connection, and the client would lose the reply.
    pub(super) async fn close(mut self, last: Option<&ReplyToClient>, linger: bool) {
        if let Some(last) = last {
            last.write_to(&mut self.output);
        }
        let closing = async {
            let _ = send(self.stream, &self.output).await;
            let _ = self.stream.shutdown().await;
            if linger {
                self.input = BytesMut::with_capacity(COMMAND_READ);
                let mut read = 0;
                while read < MAX_SKIPPED {
                    self.input.clear();
                    match self.stream.read_buf(&mut self.input).await {
                        Ok(1..) => read += self.input.len(),
                        _ => break,
                    }
                }
            }
        };
        let _ = timeout(LINGER, closing).await;
    }
}

/// Writes it all; within TLS what was written stays in a buffer until it is flushed.
async fn send<S>(stream: &mut InboundStream<S>, bytes: &[u8]) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(bytes).await?;
    stream.flush().await
}
