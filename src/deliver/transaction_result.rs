//! What an upstream said in one transaction and what that means: one answer for each recipient.
//!
//! The transaction makes it, the attempt decides what follows; they share nothing else.

pub use super::disposition::{Disposition, TransactionStep};
use super::session_error::SessionError;
use crate::mail::attempt::StepTimes;
use crate::mail::verdict::MAY_BE_SENT_TWICE;
use crate::mail::{EnhancedCode, Grounds, Reply};

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
    Refused {
        step: TransactionStep,
        /// As the server said it.
        reply: Reply,
        /// The row of the table that it fits.
        means: Disposition,
    },
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
    /// The upstream has answered a command of it with something else than 421.
    pub answered: bool,
    /// Milliseconds from the start of the transaction to its last reply; what was read from our queue before is not in it.
    pub transmit_ms: u64,
    /// How long its steps took.
    pub times: StepTimes,
}

impl TransactionResult {
    /// Nothing was said to the server, because of that.
    pub(super) fn not_begun(recipients: usize, error: SessionError) -> TransactionResult {
        let answers = vec![RecipientAnswer::Undecided; recipients];
        let times = StepTimes::default();
        TransactionResult { answers, lost: Some(error), began: false, answered: false, transmit_ms: 0, times }
    }
}

impl RecipientAnswer {
    /// The upstream has the message for this recipient.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, RecipientAnswer::Accepted(_))
    }

    /// What it means for the recipient.
    pub(super) fn disposition(&self) -> Disposition {
        match self {
            RecipientAnswer::Accepted(_) => Disposition::Delivered,
            RecipientAnswer::Refused { means, .. } => *means,
            RecipientAnswer::Unable(_) => Disposition::RefusedHere,
            RecipientAnswer::Unknown(_) => Disposition::Unknown,
            RecipientAnswer::Undecided => Disposition::SessionLost,
        }
    }

    /// It is about the content or the whole of the mail, and not about this recipient.
    pub(super) fn is_of_content(&self) -> bool {
        match self {
            RecipientAnswer::Accepted(_) | RecipientAnswer::Unknown(_) => true,
            RecipientAnswer::Refused { step, .. } => {
                matches!(step, TransactionStep::Data | TransactionStep::Content)
            }
            RecipientAnswer::Unable(_) | RecipientAnswer::Undecided => false,
        }
    }

    /// In words, on one line.
    pub fn describe(&self) -> String {
        match self {
            RecipientAnswer::Accepted(reply) | RecipientAnswer::Refused { reply, .. } => reply.to_string(),
            RecipientAnswer::Unable(Missing::Size { size, limit }) => {
                format!("the message has {size} bytes, the upstream takes {limit} at most")
            }
            RecipientAnswer::Unable(Missing::SmtpUtf8) => {
                "the upstream does not offer SMTPUTF8, which an address that is not ASCII needs".into()
            }
            RecipientAnswer::Unknown(what) => format!("{what}: {MAY_BE_SENT_TWICE}"),
            RecipientAnswer::Undecided => "the session was lost before the upstream decided".into(),
        }
    }

    /// What a verdict rests on that it makes.
    pub(super) fn grounds(&self) -> Grounds {
        match self {
            RecipientAnswer::Refused { step: TransactionStep::Mail, .. } => Grounds::Mail,
            RecipientAnswer::Refused { step: TransactionStep::Rcpt, .. } => Grounds::Rcpt,
            RecipientAnswer::Accepted(_) | RecipientAnswer::Refused { .. } => Grounds::Content,
            RecipientAnswer::Unable(_) => Grounds::Capabilities,
            RecipientAnswer::Unknown(_) => Grounds::NoReply,
            RecipientAnswer::Undecided => Grounds::NotAsked,
        }
    }

    /// The enhanced code that goes with it: the upstream's own, else the one that fits (RFC 3463).
    pub(super) fn enhanced_code(&self) -> EnhancedCode {
        match self {
            RecipientAnswer::Accepted(reply) | RecipientAnswer::Refused { reply, .. } => {
                let class = u8::try_from(reply.code / 100).unwrap_or(4);
                reply.enhanced.unwrap_or(EnhancedCode(class, 0, 0))
            }
            RecipientAnswer::Unable(Missing::Size { .. }) => EnhancedCode(5, 3, 4),
            RecipientAnswer::Unable(Missing::SmtpUtf8) => EnhancedCode(5, 6, 7),
            RecipientAnswer::Unknown(_) | RecipientAnswer::Undecided => EnhancedCode(4, 4, 2),
        }
    }
}
