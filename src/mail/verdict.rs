//! What an attempt decided about one recipient.

use super::message::{RecipientState, Refusal};
use super::reply::EnhancedCode;
use serde::{Deserialize, Serialize};

/// What becomes of the recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// An upstream answered 2xx to the final dot: it is the upstream's responsibility now.
    Delivered,
    /// Tried again later.
    Deferred,
    /// Refused for good.
    Failed,
    /// Deferred once too often: older than `expire_after`.
    Expired,
}

impl From<Outcome> for RecipientState {
    fn from(outcome: Outcome) -> RecipientState {
        match outcome {
            Outcome::Delivered => RecipientState::Delivered,
            Outcome::Deferred => RecipientState::Deferred,
            Outcome::Failed => RecipientState::Failed,
            Outcome::Expired => RecipientState::Expired,
        }
    }
}

/// What a verdict rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grounds {
    /// No upstream was asked, or none said anything about the recipient: the words are ours, or those of an earlier attempt.
    NotAsked,
    /// What the upstream offers, so that it was not asked.
    Capabilities,
    /// A reply to MAIL.
    Mail,
    /// A reply to RCPT.
    Rcpt,
    /// A reply to DATA or to the content.
    Content,
    /// No reply came to the final dot: it may have arrived.
    NoReply,
}

/// Ends the words of a verdict that rests on [`Grounds::NoReply`].
pub const MAY_BE_SENT_TWICE: &str = "may be sent twice";

/// One recipient's verdict. An attempt gives exactly one for each recipient that it claimed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What becomes of the recipient.
    pub outcome: Outcome,
    /// The upstream that decided, or the last one asked; none where nobody could be asked.
    pub upstream: Option<String>,
    /// What the upstream said, or what went wrong in words, on one printable line.
    pub reply: String,
    pub grounds: Grounds,
    /// The upstream's enhanced code, or the one that fits what went wrong (RFC 3463).
    pub enhanced: EnhancedCode,
    /// Replaces [`super::Recipient::refused_by`].
    pub refused_by: Vec<Refusal>,
}
