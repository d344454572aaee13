//! What an upstream said in one transaction: one answer for each recipient.
//!
//! The transaction makes it, the attempt judges it; they share nothing else.

use super::session_error::SessionError;
use crate::mail::Reply;

/// At which command a reply came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStep {
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
pub enum RecipientAnswer {
    /// 2xx to the final dot.
    Accepted(Reply),
    /// 4xx or 5xx.
    Refused(TransactionStep, Reply),
    /// The recipient was not offered, for want of that.
    Unable(Missing),
    /// The final dot was begun and no valid reply came: it may be sent or not. With what happened, in words.
    Unknown(String),
    /// Nothing was decided: the session was lost, or talked nonsense, before the final dot.
    Undecided,
}

/// What came of one transaction.
#[derive(Clone, Debug)]
pub struct TransactionResult {
    /// One for each recipient of the envelope, in its order.
    pub answers: Vec<RecipientAnswer>,
    /// Why the session was lost or given up, where it was: the upstream's fault (rule 3).
    pub lost: Option<SessionError>,
    /// MAIL was sent: this counts as an attempt (rule 12).
    pub began: bool,
    /// The upstream has answered a command of it with something else than a farewell.
    pub answered: bool,
    /// Time spent before the first byte of MAIL waiting for nothing but our own side is not in it, milliseconds.
    pub transmit_ms: u64,
}
