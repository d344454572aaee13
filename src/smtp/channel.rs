//! The bytes of one session, in both directions: every read and write has a deadline and ends when the front door closes.
//!
//! Replies are collected and leave in one write when the client has to be waited for. Buffers are small while a
//! session idles (ten thousand idle sessions are cheap) and grow only while content flows.

use super::reply::Reply;
use bytes::{Buf, BytesMut};
use memchr::memchr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// The longest command line that is accepted, line end included. RFC 5321 section 4.5.3.1.4 asks for 512.
pub const MAX_LINE: usize = 4096;
/// A line longer than this ends the session.
pub const ENDLESS: usize = 64 * 1024;
/// What is read at once while waiting for commands.
const COMMAND_READ: usize = 2048;
/// Replies to pipelined commands are held back up to this size.
const MAX_OUTPUT: usize = 16 * 1024;
/// How long a session that ends by our decision listens on, so that its last reply arrives.
const LINGER: Duration = Duration::from_millis(500);

/// Why a session cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The client is gone.
    Closed,
    /// A deadline has passed.
    TimedOut,
    /// The front door closes.
    Stopping,
    /// A command line that does not end.
    Endless,
}

/// A command line has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// So many bytes at the start of [`Channel::input`], line end included.
    Whole(usize),
    /// It was longer than [`MAX_LINE`] and has been skipped.
    TooLong,
}

/// A stream with its buffers.
#[derive(Debug)]
pub struct Channel<'s, S> {
    stream: &'s mut S,
    input: BytesMut,
    output: Vec<u8>,
    /// The input buffer has grown for content.
    grown: bool,
    write_timeout: Duration,
    /// Ends every write: nobody waits for a client that does not read when the front door is closed.
    grace_over: &'s CancellationToken,
}

impl<'s, S: AsyncRead + AsyncWrite + Unpin> Channel<'s, S> {
    /// With nothing read or said yet.
    pub fn new(
        stream: &'s mut S,
        write_timeout: Duration,
        grace_over: &'s CancellationToken,
    ) -> Channel<'s, S> {
        Channel {
            stream,
            input: BytesMut::new(),
            output: Vec::new(),
            grown: false,
            write_timeout,
            grace_over,
        }
    }

    /// What has been read and not consumed.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// These bytes at the start of the input are done with.
    pub fn consume(&mut self, count: usize) {
        self.input.advance(count);
    }

    /// Waits for a whole command line.
    pub async fn line(&mut self, deadline: Instant, stop: &CancellationToken) -> Result<Line, Lost> {
        let (mut searched, mut skipped) = (0, 0);
        loop {
            if let Some(found) = memchr(b'\n', &self.input[searched..]) {
                let length = searched + found + 1;
                if skipped == 0 && length <= MAX_LINE {
                    return Ok(Line::Whole(length));
                }
                self.input.advance(length);
                return Ok(Line::TooLong);
            }
            searched = self.input.len();
            if skipped > 0 || searched > MAX_LINE {
                skipped += searched;
                searched = 0;
                self.input.clear();
            }
            if skipped > ENDLESS {
                return Err(Lost::Endless);
            }
            if self.grown && self.input.is_empty() {
                self.input = BytesMut::new();
                self.grown = false;
            }
            self.fill(COMMAND_READ, deadline, stop).await?;
        }
    }

    /// Says what is to be said, then waits for more input; room for `want` bytes of it is made.
    pub async fn fill(
        &mut self,
        want: usize,
        deadline: Instant,
        stop: &CancellationToken,
    ) -> Result<(), Lost> {
        self.flush().await?;
        self.input.reserve(want);
        self.grown |= want > COMMAND_READ;
        let (stream, input) = (&mut *self.stream, &mut self.input);
        let read = async {
            tokio::select! {
                biased;
                read = stream.read_buf(input) => read.map_err(|_| Lost::Closed),
                () = stop.cancelled() => Err(Lost::Stopping),
            }
        };
        match timeout_at(deadline, read).await {
            Err(_) => Err(Lost::TimedOut),
            Ok(Ok(0)) => Err(Lost::Closed),
            Ok(read) => read.map(|_| ()),
        }
    }

    /// Whether the client has sent more than what was consumed. Does not wait for it.
    pub async fn has_more(&mut self) -> bool {
        if self.input.is_empty() {
            // What has arrived and the runtime has not looked for yet, a read would not find.
            tokio::task::yield_now().await;
            self.input.reserve(COMMAND_READ);
            // A fault shows again at the next wait.
            let _ = futures_util::poll!(std::pin::pin!(self.stream.read_buf(&mut self.input)));
        }
        !self.input.is_empty()
    }

    /// A reply, to be sent before the next wait.
    pub async fn say(&mut self, reply: &Reply) -> Result<(), Lost> {
        reply.write_to(&mut self.output);
        if self.output.len() > MAX_OUTPUT { self.flush().await } else { Ok(()) }
    }

    /// Sends what has been said, in one write.
    pub async fn flush(&mut self) -> Result<(), Lost> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            tokio::select! {
                biased;
                written = self.stream.write_all(&self.output) => written.map_err(|_| Lost::Closed),
                () = self.grace_over.cancelled() => Err(Lost::Stopping),
            }
        };
        let written = timeout(self.write_timeout, write).await.unwrap_or(Err(Lost::TimedOut));
        if self.output.capacity() > COMMAND_READ {
            self.output = Vec::new()
        } else {
            self.output.clear()
        }
        written
    }

    /// Says the last words. A client that is still sending is listened to for a moment: closing with unread input
    /// would take those words away from it.
    pub async fn close(mut self, last: Option<&Reply>, linger: bool) {
        if let Some(last) = last {
            last.write_to(&mut self.output);
        }
        let farewell = async {
            let _ = self.stream.write_all(&self.output).await;
            let _ = self.stream.shutdown().await;
            if linger {
                self.input = BytesMut::with_capacity(COMMAND_READ);
                let mut heard = 0;
                while heard < ENDLESS {
                    self.input.clear();
                    match self.stream.read_buf(&mut self.input).await {
                        Ok(1..) => heard += self.input.len(),
                        _ => break,
                    }
                }
            }
        };
        let _ = timeout(LINGER, farewell).await;
    }
}
