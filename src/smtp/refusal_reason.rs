//! Why a client was refused, in one word, for counting: told from the code and the enhanced code of the reply.

use super::reply::ReplyToClient;
use crate::mail::EnhancedCode;

/// Of a TLS handshake that failed, which is answered with no reply.
pub(super) const TLS: &str = "tls";

/// Of a reply that refuses. `other` is what an upstream has said in pass-through, and what stands in no other row of
/// docs/monitoring.md.
pub(super) fn of(reply: &ReplyToClient) -> &'static str {
    let enhanced = reply.enhanced.map(|EnhancedCode(_, subject, detail)| (subject, detail));
    match (reply.code, enhanced.unwrap_or_default()) {
        (421, (7, 0)) => "limit",
        (421, (4, 2)) => "timeout",
        (421, (3, 2)) => "stopping",
        (421, _) => "internal",
        (530 | 535 | 538, _) | (454, (7, 0)) | (553, (7, 1)) => "login",
        (554, (7, 1)) => "relaying",
        (552, (3, 4)) => "size",
        (550, (6, 0) | (5, 2)) | (554, (4, 6)) => "content",
        (451 | 452, (3, _)) => "storage",
        (452, (5, 3)) => "recipients",
        (501, (1, _)) | (553, (6, 7)) => "address",
        (554, (5, 1)) => "not_smtp",
        (500..=504 | 555, _) => "command",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::{self, ReplyToClient};
    use crate::reception::not_accepted::NotAccepted;

    #[test]
    fn each_kind_of_refusal_has_its_word() {
        let may_not_relay = reply::may_not_relay([192, 0, 2, 1].into(), "local");
        let too_large = reply::not_accepted(NotAccepted::TooLarge(1));
        let no_space = reply::not_accepted(NotAccepted::MinFreeSpace);
        let not_writable = reply::not_accepted(NotAccepted::QueueNotWritable);
        let refusals: [(&ReplyToClient, &str); 16] = [
            (&reply::TOO_MANY_SESSIONS, "limit"),
            (&reply::TOO_MANY_ERRORS, "limit"),
            (&reply::TIMEOUT, "timeout"),
            (&reply::STOPPING, "stopping"),
            (&reply::AUTH_FAILED, "login"),
            (&reply::TLS_REQUIRED, "login"),
            (&may_not_relay, "relaying"),
            (&too_large, "size"),
            (&reply::MAIL_LOOP, "content"),
            (&no_space, "storage"),
            (&not_writable, "storage"),
            (&reply::TOO_MANY_RECIPIENTS, "recipients"),
            (&reply::NULL_RECIPIENT, "address"),
            (&reply::HTTP, "not_smtp"),
            (&reply::UNKNOWN_COMMAND, "command"),
            (&reply::MAIL_FIRST, "command"),
        ];
        for (reply, word) in refusals {
            assert_eq!(super::of(reply), word, "{reply:?}");
        }
    }
}
