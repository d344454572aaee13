//! What a client hears in pass-through where no upstream has answered (rule 15). All of it is temporary but for what an
//! upstream cannot take at all.

use super::super::mode_words;
use super::super::transaction_result::{Missing, RecipientAnswer};
use crate::mail::{EnhancedCode, Reply};

fn own(code: u16, enhanced: EnhancedCode, text: &str) -> Reply {
    Reply { code, enhanced: Some(enhanced), lines: vec![text.to_owned()] }
}

/// Nobody can be asked now.
const NOT_NOW: EnhancedCode = EnhancedCode(4, 3, 2);
/// The session with the upstream ended before its time.
const LOST: EnhancedCode = EnhancedCode(4, 4, 2);

pub(super) fn recipient_ok() -> Reply {
    own(250, EnhancedCode(2, 1, 5), "recipient OK")
}

pub(super) fn nothing_available() -> Reply {
    own(451, NOT_NOW, "no upstream is available now: try again later")
}

pub(super) fn sending_is_off() -> Reply {
    own(451, NOT_NOW, "sending is off (`enabled` under [sending]): try again later")
}

pub(super) fn nobody_to_report_to() -> Reply {
    own(451, NOT_NOW, "redirect is on and no report address is enabled: try again later")
}

pub(super) fn site_is_gone() -> Reply {
    own(451, NOT_NOW, "the site of this mail is not configured any more: try again later")
}

pub(super) fn handling_has_changed() -> Reply {
    own(451, NOT_NOW, "what happens to this mail has just been changed: send it again")
}

/// With the null reverse-path the site of a message is known when From has come, and then it is too late for another one.
pub(super) fn other_site() -> Reply {
    own(
        451,
        NOT_NOW,
        "From belongs to a site whose mail is handled otherwise, and the reverse-path is null: give the client a user or a \
         listener with that `site`",
    )
}

pub(super) fn other_kind() -> Reply {
    own(
        452,
        EnhancedCode(4, 5, 3),
        "redirect is on, and this recipient does not go where the others of this transaction go: send to it in another",
    )
}

pub(super) fn simulated() -> Reply {
    own(451, EnhancedCode(4, 0, 0), "sending failed: simulate is on")
}

pub(super) fn failed_under_debug() -> Reply {
    own(451, EnhancedCode(4, 0, 0), "sending failed: debug is on")
}

pub(super) fn logged_only() -> Reply {
    own(250, EnhancedCode(2, 0, 0), mode_words::LOGGED_ONLY)
}

/// Nothing was sent, because the final dot was not.
pub(super) fn session_lost() -> Reply {
    own(451, LOST, "the session with the upstream was lost and nothing was sent: try again later")
}

/// From the final dot on (rule 5).
pub(super) fn uncertain() -> Reply {
    own(
        451,
        LOST,
        "the upstream has not answered the end of the message: it may have been sent, and twice if sent again",
    )
}

/// What the client hears of a recipient's answer; none where the upstream has not decided, or has taken it.
pub(super) fn of_refusal(answer: &RecipientAnswer) -> Option<Reply> {
    match answer {
        RecipientAnswer::Refused { reply, .. } => Some(reply.clone()),
        RecipientAnswer::Unable(missing) => {
            let (code, enhanced) = match missing {
                Missing::Size { .. } => (552, EnhancedCode(5, 3, 4)),
                Missing::SmtpUtf8 => (553, EnhancedCode(5, 6, 7)),
            };
            Some(own(code, enhanced, &answer.describe()))
        }
        RecipientAnswer::Accepted(_) | RecipientAnswer::Unknown(_) | RecipientAnswer::Undecided => None,
    }
}
