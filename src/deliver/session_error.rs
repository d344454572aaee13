//! Why there is no usable session with an upstream, or why one ended before its time.

use crate::mail::{ReplyCode, shortened};

/// No usable session with an upstream, or one that was lost: the upstream's fault, never the message's.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct SessionError {
    pub kind: SessionErrorKind,
    /// In words, with the upstream's own words where there are some; printable, without secrets.
    pub text: String,
    /// What was said on a session that did not come to be, with secrets left out.
    pub dialogue: String,
    /// Of the reply that it was, where it was one.
    pub code: Option<ReplyCode>,
}

/// Characters of a text that are kept: a server may say much.
const LONGEST_TEXT: usize = 1024;

impl SessionError {
    /// Of a session whose dialogue is kept elsewhere, or that had none.
    pub fn new(kind: SessionErrorKind, text: String) -> SessionError {
        SessionError { kind, text: shortened(text, LONGEST_TEXT), dialogue: String::new(), code: None }
    }
}

impl SessionErrorKind {
    /// For counting.
    pub(super) fn word(self) -> &'static str {
        match self {
            SessionErrorKind::Connect => "connect",
            SessionErrorKind::Greeting => "greeting",
            SessionErrorKind::Hello => "hello",
            SessionErrorKind::Tls => "tls",
            SessionErrorKind::AuthRefused | SessionErrorKind::Auth => "auth",
            SessionErrorKind::Unauthorized => "unauthorized",
            SessionErrorKind::Lost => "lost",
            SessionErrorKind::TooManyConnections => "too_many_connections",
            SessionErrorKind::OutOfTime => "out_of_time",
            SessionErrorKind::Stale => "stale",
            SessionErrorKind::Folder => "folder",
            SessionErrorKind::Content => "own_queue",
        }
    }
}

/// At which step a session with an upstream failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionErrorKind {
    Connect,
    Greeting,
    Hello,
    /// STARTTLS, handshake, certificate, or not offered where required.
    Tls,
    /// AUTH was answered with a refusal, for good or for now (535, 454 and their like): the account is at risk of being
    /// locked.
    AuthRefused,
    /// AUTH failed in another way, or was not offered, or is wanted where none was configured (530 to MAIL).
    Auth,
    /// MAIL was answered with 530, 534 or 538: the server wants TLS or authentication first.
    Unauthorized,
    /// 421, closed, silent or nonsense within a session that had been usable.
    Lost,
    /// The server took the connection and then said that there are too many.
    TooManyConnections,
    /// The attempt was ended because it took too long in all.
    OutOfTime,
    /// The pooled connection was closed before it answered: the attempt opens a new one, and no failure is counted.
    Stale,
    /// The pickup folder is missing, full or not ours to write to.
    Folder,
    /// Our own queue could not hand out the content: not the upstream's fault.
    Content,
}
