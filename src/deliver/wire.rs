//! The bytes of one connection, with a deadline on every step: commands and content out, replies in.
//!
//! Knows the form of replies, nothing of what they mean.

use super::transcript::Transcript;
use crate::mail::{Reply, ReplyCode, ReplyParser};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// Bytes read in one go: more than most replies have.
const READ_SIZE: usize = 4096;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum WireError {
    /// The peer closed the connection.
    Closed,
    /// An error of the operating system or of TLS.
    Failed(io::Error),
    /// Nothing happened for that long.
    TimedOut(Duration),
    /// What came is no reply, or none that can come here. In words.
    Protocol(String),
    /// The peer said 421: it closes the connection (RFC 5321 section 3.8).
    ServiceClosing(Reply),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Closed => f.write_str("the connection was closed"),
            WireError::Failed(error) => write!(f, "the connection failed: {error}"),
            WireError::TimedOut(time) => {
                write!(f, "nothing came within {}", humantime::format_duration(*time))
            }
            WireError::Protocol(what) => f.write_str(what),
            WireError::ServiceClosing(reply) => write!(f, "the server ended the session: {reply}"),
        }
    }
}

impl Transcript {
    /// The connection is of no use any more; a reply that was wrong stands there already.
    fn fault(&mut self, fault: &WireError) {
        match fault {
            WireError::Closed => self.note("the server closed the connection"),
            WireError::Failed(_) | WireError::TimedOut(_) => self.note(&fault.to_string()),
            WireError::Protocol(_) | WireError::ServiceClosing(_) => {}
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> WireError {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            // TLS that ends without saying so is as closed as any other.
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => WireError::Closed,
            _ => WireError::Failed(error),
        }
    }
}

/// A write that did not come to its end.
#[derive(Debug)]
pub(super) struct NotSent {
    /// Bytes that were handed to the connection; with TLS some more may have left.
    pub(super) sent: usize,
    pub(super) fault: WireError,
}

/// A connection, encrypted or not.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// It was taken for a TLS handshake, which has not succeeded.
    Taken,
}

/// One connection to a server that speaks SMTP.
pub(super) struct Wire {
    stream: Stream,
    replies: ReplyParser,
    input: Box<[u8; READ_SIZE]>,
    /// What was said on it.
    pub(super) transcript: Transcript,
    /// Of the reply that came last; none where something else has happened since.
    last_reply: Option<ReplyCode>,
}

impl Wire {
    pub(super) fn plain(stream: TcpStream) -> Wire {
        Wire {
            stream: Stream::Plain(stream),
            replies: ReplyParser::default(),
            input: Box::new([0; READ_SIZE]),
            transcript: Transcript::default(),
            last_reply: None,
        }
    }

    /// The bare connection, for a TLS handshake on it. Whatever was said in clear text and not read yet is forgotten:
    /// an attacker may have inserted it (CASES F11).
    pub(super) fn take_tcp(&mut self) -> Option<TcpStream> {
        self.replies = ReplyParser::default();
        match std::mem::replace(&mut self.stream, Stream::Taken) {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) | Stream::Taken => None,
        }
    }

    /// Goes on within TLS, on the connection that was taken.
    pub(super) fn set_tls(&mut self, stream: TlsStream<TcpStream>) {
        self.stream = Stream::Tls(Box::new(stream));
        self.transcript.note("TLS has begun");
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// What is known of TLS, where there is any.
    pub(super) fn tls_session(&self) -> Option<&rustls::ClientConnection> {
        match &self.stream {
            Stream::Plain(_) | Stream::Taken => None,
            Stream::Tls(stream) => Some(stream.get_ref().1),
        }
    }

    /// One command and its reply.
    pub(super) async fn command(&mut self, line: &str, within: Duration) -> Result<Reply, WireError> {
        self.expect_no_reply()?;
        self.transcript.commands(line.as_bytes());
        self.send(line.as_bytes(), within).await.map_err(|not_sent| not_sent.fault)?;
        self.reply(within).await
    }

    /// The next reply, whatever its code, within that time from now.
    pub(super) async fn reply(&mut self, within: Duration) -> Result<Reply, WireError> {
        let reading = async {
            loop {
                match self.replies.reply() {
                    Ok(Some(reply)) => {
                        self.transcript.reply(&reply);
                        return Ok(reply);
                    }
                    Ok(None) => poll_fn(|context| self.poll_replies(context)).await?,
                    Err(error) => return Err(WireError::Protocol(error.to_string())),
                }
            }
        };
        let read = timeout(within, reading).await.unwrap_or(Err(WireError::TimedOut(within)));
        self.last_reply = read.as_ref().ok().map(Reply::reply_code);
        read.inspect_err(|fault| self.transcript.fault(fault))
    }

    /// The last that happened, where that was a reply of 4xx or 5xx.
    pub(super) fn refusal(&self) -> Option<ReplyCode> {
        self.last_reply.filter(|reply| reply.code >= 400)
    }

    /// Writes all of it.
    pub(super) async fn send(&mut self, bytes: &[u8], within: Duration) -> Result<(), NotSent> {
        self.write(bytes, within, false).await.map(|_all| ())
    }

    /// Writes all of it, or stops when the peer says something although it is not its turn; says whether all is
    /// written.
    pub(super) async fn send_until_reply(&mut self, bytes: &[u8], within: Duration) -> Result<bool, NotSent> {
        self.write(bytes, within, true).await
    }

    /// Fails where the server has said more than it was asked: its next reply would be taken for that to another
    /// command.
    pub(super) fn expect_no_reply(&self) -> Result<(), WireError> {
        match self.replies.has_more() {
            true => Err(WireError::Protocol("there are more replies than commands".to_owned())),
            false => Ok(()),
        }
    }

    /// Whether the peer has said something, or closed, although it is not its turn. Does not wait.
    pub(super) fn has_unexpected_input(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.replies.has_more() || self.poll_replies(&mut context).is_ready()
    }

    /// Ends the connection; with TLS it sends close_notify first.
    pub(super) async fn close(mut self, within: Duration) {
        // The connection is given up either way, so an error changes nothing.
        let _ = match &mut self.stream {
            Stream::Plain(_) | Stream::Taken => return,
            Stream::Tls(stream) => timeout(within, stream.shutdown()).await,
        };
    }

    async fn write(&mut self, bytes: &[u8], within: Duration, listen: bool) -> Result<bool, NotSent> {
        let mut sent = 0;
        let writing = poll_fn(|context| {
            while sent < bytes.len() {
                match self.stream.poll_write(context, &bytes[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(WireError::Closed)),
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(WireError::from(error))),
                    Poll::Pending if listen => return self.poll_replies(context).map_ok(|()| false),
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.stream.poll_flush(context).map(|flushed| Ok(flushed.map(|()| true)?))
        });
        let done = timeout(within, writing).await.unwrap_or(Err(WireError::TimedOut(within)));
        done.map_err(|fault| {
            self.last_reply = None;
            self.transcript.fault(&fault);
            NotSent { sent, fault }
        })
    }

    /// Reads what there is and keeps it for [`Wire::reply`].
    fn poll_replies(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let mut input = ReadBuf::new(&mut self.input[..]);
        std::task::ready!(self.stream.poll_read(context, &mut input))?;
        if input.filled().is_empty() {
            return Poll::Ready(Err(WireError::Closed));
        }
        self.replies.push(input.filled());
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, into),
            Stream::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
            Stream::Taken => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}
