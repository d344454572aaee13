//! One mail transaction with an upstream, as values: what goes in and what comes back.
//!
//! Written apart from the connection so that the attempt, which decides, and the connection, which talks, share
//! nothing else.

use crate::mail::{Address, BodyType, Reply, ReversePath};

/// The envelope of one transaction.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// For MAIL.
    pub reverse_path: ReversePath,
    /// For RCPT, in this order.
    pub recipients: Vec<Address>,
    /// `BODY=8BITMIME` is said where 8BITMIME is offered; where it is not, the content goes as it is all the same.
    pub body: BodyType,
    /// The client declared `SMTPUTF8`: it is passed on where it is offered. What needs it is told by the addresses alone.
    pub smtp_utf8: bool,
    /// Bytes of content, what is added to it included; said in SIZE= and compared with the upstream's limit.
    pub size: u64,
}

impl Envelope {
    /// Whether that recipient cannot be offered without SMTPUTF8: its own address or the reverse-path is not ASCII
    /// (RFC 6531 section 3.4). Content never is a reason.
    pub fn needs_smtp_utf8(&self, recipient: &Address) -> bool {
        !recipient.is_ascii() || self.reverse_path.address().is_some_and(|address| !address.is_ascii())
    }
}

/// At which command a reply came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// MAIL.
    Mail,
    /// RCPT of that recipient.
    Rcpt,
    /// DATA, before any content.
    Data,
    /// After the final dot.
    Content,
}

/// What a recipient of the message needs and the upstream does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Its SIZE is smaller than the message (5.3.4).
    Size {
        /// Of the message, in bytes, with what is added to it.
        size: u64,
        /// The largest message that the upstream takes, in bytes.
        limit: u64,
    },
    /// SMTPUTF8, for an address that is not ASCII (5.6.7).
    SmtpUtf8,
}

/// What the upstream said about one recipient.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// 2xx to the final dot.
    Accepted(Reply),
    /// 4xx or 5xx.
    Refused(Step, Reply),
    /// The recipient was not offered, for want of that.
    Unable(Missing),
    /// The final dot was begun and no valid reply came: it may be sent or not. With what happened, in words.
    Unknown(String),
    /// Nothing was decided: the session was lost, or talked nonsense, before the final dot.
    Undecided,
}

/// What came of one transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// One for each recipient of the envelope, in its order.
    pub answers: Vec<Answer>,
    /// Why the session was lost or given up, where it was: the upstream's fault (PRODUCT rule 3).
    pub lost: Option<SessionError>,
    /// MAIL was sent: this counts as an attempt (PRODUCT rule 12).
    pub began: bool,
    /// Time spent before the first byte of MAIL waiting for nothing but our own side is not in it, milliseconds.
    pub transmit_ms: u64,
}

/// No usable session with an upstream, or one that was lost: the upstream's fault, never the message's.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct SessionError {
    /// Where it happened.
    pub kind: SessionErrorKind,
    /// In words, with the upstream's own words where there are some; printable, without secrets.
    pub text: String,
}

/// At which step a session with an upstream failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionErrorKind {
    /// Name, route, TCP.
    Connect,
    /// The greeting.
    Greeting,
    /// EHLO and HELO.
    Hello,
    /// STARTTLS, handshake, certificate, or not offered where required.
    Tls,
    /// AUTH was answered with a refusal, for good or for now (535, 454 and their like): the account is at risk of being
    /// locked.
    AuthRefused,
    /// AUTH failed in another way, or was not offered, or is wanted where none was configured (530 to MAIL).
    Auth,
    /// 421, closed, silent or nonsense within a session that had been usable.
    Lost,
    /// The server took the connection and then said that there are too many.
    TooManyConnections,
    /// The attempt was ended because it took too long in all.
    OutOfTime,
    /// An idle connection had been closed in the meantime: nothing was sent, nobody is at fault.
    Stale,
    /// Our own queue could not hand out the content: not the upstream's fault.
    Content,
}
