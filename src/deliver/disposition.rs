//! What an upstream's answer means: the table of rule 3, with rule 5 behind it. docs/replies.md holds it against
//! what others do and what servers say.
//!
//! One row is changed by what is known of the server: 530 to MAIL from an upstream that has answered other transactions speaks of
//! this sender, see `of_the_sender` in `super::attempt`.
//!
//! Not in the table: what comes before MAIL (all of it is "no usable session", see `super::connection`), and what is no
//! reply at all (a lost session, or after the final dot "unknown", see `super::transaction`).

use crate::mail::{EnhancedCode, Reply};

/// At which command a reply came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionStep {
    Mail,
    /// RCPT of that recipient.
    Rcpt,
    /// DATA, before any content.
    Data,
    /// After the final dot.
    Content,
}

/// What an answer means for its recipient, and what happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    Delivered,
    /// The server does not talk to us: its fault, the next upstream is asked at once. The attempt is not counted, but the lost session is.
    NoSession,
    /// The session is over before anything was decided: its fault too; a message that meets it again and again is
    /// deferred in the end.
    SessionLost,
    /// Only one too many for this transaction: goes at once in another one, at the same upstream.
    NextTransaction,
    /// Says nothing against the mail for good: the next upstream is asked, then it is deferred.
    NextUpstream,
    /// Speaks of the account or the server and not of the mail: final only when every candidate said so.
    RefusedHere,
    /// Refused for good, wherever it would be sent.
    Failed,
    /// May be sent or not: deferred, and never at once to another upstream.
    Unknown,
}

/// One row of the table: where, which replies, and what they mean.
struct Row(&'static [TransactionStep], fn(&Reply) -> bool, Disposition);

const ANY_STEP: &[TransactionStep] =
    &[TransactionStep::Mail, TransactionStep::Rcpt, TransactionStep::Data, TransactionStep::Content];
const BEHIND_MAIL: &[TransactionStep] =
    &[TransactionStep::Rcpt, TransactionStep::Data, TransactionStep::Content];

/// The first row that fits holds.
const TABLE: &[Row] = &[
    Row(&[TransactionStep::Mail], wants_protection, Disposition::NoSession),
    Row(ANY_STEP, |reply| reply.code == 421, Disposition::SessionLost),
    // Where another recipient was taken in this transaction, else the next row: 552 means 452 there (RFC 5321 section
    // 4.5.3.1.10).
    Row(&[TransactionStep::Rcpt], is_too_many, Disposition::NextTransaction),
    Row(&[TransactionStep::Rcpt], is_too_many, Disposition::NextUpstream),
    Row(BEHIND_MAIL, wants_protection, Disposition::NextUpstream),
    Row(ANY_STEP, speaks_of_the_account, Disposition::NextUpstream),
    Row(&[TransactionStep::Mail], Reply::is_permanent, Disposition::RefusedHere),
    Row(&[TransactionStep::Rcpt], speaks_of_relaying, Disposition::RefusedHere),
    Row(ANY_STEP, speaks_of_sender_or_size, Disposition::RefusedHere),
    Row(BEHIND_MAIL, Reply::is_permanent, Disposition::Failed),
    Row(ANY_STEP, Reply::is_transient, Disposition::NextUpstream),
];

/// What a reply to that step means, if it is a refusal. `taken`: another recipient was taken in this transaction before.
pub(super) fn meaning(step: TransactionStep, reply: &Reply, taken: bool) -> Disposition {
    let fits = |Row(steps, says, means): &&Row| {
        steps.contains(&step) && says(reply) && (*means != Disposition::NextTransaction || taken)
    };
    // Unknown = temporary.
    TABLE.iter().find(fits).map_or(Disposition::NextUpstream, |Row(_, _, means)| *means)
}

/// 530 authentication or STARTTLS required, 534 mechanism too weak, 538 encryption required (RFC 4954 section 6, RFC 3207
/// section 4).
fn wants_protection(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 538)
}

/// The reply to a recipient beyond what the server takes in one transaction, by its code or in words.
fn is_too_many(reply: &Reply) -> bool {
    let by_code = reply.enhanced.is_some_and(|EnhancedCode(_, subject, detail)| (subject, detail) == (5, 3));
    let by_words = || reply.lines.join(" ").to_ascii_lowercase().contains("too many");
    matches!(reply.code, 452 | 552) && (by_code || by_words())
}

/// The account, its quota, its rights: Office 365's 5.1.90 (recipients of a day), 5.7.57 (not authenticated), 5.7.501 to
/// 511 (abuse, blocks) and 5.7.700 to 799 (tenant); Gmail's 5.4.5 (quota of a day).
fn speaks_of_the_account(reply: &Reply) -> bool {
    let known = |subject, detail| {
        matches!((subject, detail), (1, 90) | (4, 5) | (7, 57) | (7, 501..=511) | (7, 700..=799))
    };
    says(reply, known)
}

/// The sender or the size, which another upstream may judge otherwise: 5.1.8 (bad outbound sender), 5.2.252 and 5.7.60 (not
/// allowed to send as this sender), 5.3.4 (too large for this system).
fn speaks_of_sender_or_size(reply: &Reply) -> bool {
    says(reply, |subject, detail| matches!((subject, detail), (1, 8) | (2, 252) | (7, 60) | (3, 4)))
}

/// It does not relay to that recipient, for us. By Exchange's codes, else by the word, which every server has words of
/// its own around.
fn speaks_of_relaying(reply: &Reply) -> bool {
    let silent = reply.enhanced.is_none() || says(reply, |subject, _| subject == 7);
    says(reply, |subject, detail| matches!((subject, detail), (7, 54 | 64)))
        || (reply.is_permanent() && silent && reply.lines.iter().any(|line| has_relay_word(line)))
}

/// Whether a 5xx reply has an enhanced code of that subject and detail.
fn says(reply: &Reply, known: impl Fn(u16, u16) -> bool) -> bool {
    reply.is_permanent()
        && reply.enhanced.is_some_and(|EnhancedCode(_, subject, detail)| known(subject, detail))
}

/// Whether a word of the line begins with `relay`, whatever the case: `relay`, `relaying`, `relayed`. Addresses and host names
/// are no words, nor is `relay1`, which is somebody's name.
fn has_relay_word(line: &str) -> bool {
    let is_word = |word: &str| {
        word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("relay"))
            && word.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    without_paths(line)
        .split_whitespace()
        .map(|token| token.trim_matches(|letter: char| !letter.is_alphanumeric()))
        .filter(|token| !token.contains(['@', '.']))
        .any(|token| token.split(|letter: char| !letter.is_alphanumeric() && letter != '-').any(is_word))
}

/// The line without what stands in angle brackets: addresses, in which a quoted local part may have blanks.
fn without_paths(line: &str) -> String {
    let mut rest = line;
    let mut kept = String::with_capacity(line.len());
    while let Some((before, path)) = rest.split_once('<') {
        kept.push_str(before);
        kept.push(' ');
        rest = path.split_once('>').map_or("", |(_, behind)| behind);
    }
    kept + rest
}

/// A reply as a server sends it.
#[cfg(test)]
pub(super) fn reply(text: &str) -> Reply {
    let mut parser = crate::mail::ReplyParser::default();
    parser.push(format!("{text}\r\n").as_bytes());
    parser.reply().unwrap().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row by row as docs/replies.md has them, in words that servers use.
    #[test]
    fn the_table() {
        use Disposition::{Failed, NextUpstream, NoSession, RefusedHere, SessionLost};
        use TransactionStep::{Content, Data, Mail, Rcpt};
        let rows: &[(&[TransactionStep], &str, Disposition)] = &[
            // Postfix, aiosmtpd, Office 365, RFC 4954.
            (&[Mail], "530 5.7.0 Must issue a STARTTLS command first", NoSession),
            (&[Mail], "530 Must issue a STARTTLS command first", NoSession),
            (&[Mail], "530 5.7.57 Client was not authenticated to send anonymous mail", NoSession),
            (&[Mail], "534 5.7.9 mechanism too weak", NoSession),
            (&[Mail], "538 5.7.11 encryption needed", NoSession),
            (ANY_STEP, "421 4.3.2 shutting down", SessionLost),
            (ANY_STEP, "421 4.7.0 Too many recipients, closing", SessionLost),
            (BEHIND_MAIL, "530 5.7.0 Authentication required", NextUpstream),
            // hMailServer, of one recipient among others.
            (BEHIND_MAIL, "530 SMTP authentication is required.", NextUpstream),
            (BEHIND_MAIL, "534 5.7.9 too weak", NextUpstream),
            (BEHIND_MAIL, "538 5.7.11 encrypt", NextUpstream),
            // The account: Office 365, Gmail.
            (ANY_STEP, "550 5.1.90 you've reached your daily limit for message recipients", NextUpstream),
            (ANY_STEP, "550 5.4.5 Daily user sending limit exceeded", NextUpstream),
            (ANY_STEP, "550 5.7.57 Client not authenticated", NextUpstream),
            (ANY_STEP, "550 5.7.501 Access denied, spam abuse detected", NextUpstream),
            (ANY_STEP, "550 5.7.511 Access denied, banned sender", NextUpstream),
            (ANY_STEP, "550 5.7.700 Access denied", NextUpstream),
            (ANY_STEP, "550 5.7.705 Access denied, tenant has exceeded threshold", NextUpstream),
            (ANY_STEP, "550 5.7.799 x", NextUpstream),
            (&[Mail], "550 5.7.500 x", RefusedHere),
            (BEHIND_MAIL, "550 5.7.512 x", Failed),
            (BEHIND_MAIL, "550 5.7.800 x", Failed),
            (&[Mail], "550 5.7.1 Sender rejected", RefusedHere),
            (&[Mail], "553 5.1.7 x", RefusedHere),
            (&[Mail], "555 5.5.4 Unsupported option: SMTPUTF8", RefusedHere),
            (&[Rcpt], "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", RefusedHere),
            (&[Rcpt], "550 5.7.64 TenantAttribution; Relay Access Denied", RefusedHere),
            (BEHIND_MAIL, "550 5.7.26 unauthenticated sender", Failed),
            // Another upstream may judge sender and size otherwise.
            (ANY_STEP, "550 5.1.8 Access denied, bad outbound sender", RefusedHere),
            (ANY_STEP, "554 5.2.252 SendAsDenied; not allowed to send as", RefusedHere),
            (ANY_STEP, "550 5.7.60 Client does not have permissions to send as this sender", RefusedHere),
            (ANY_STEP, "552 5.3.4 Message size exceeds fixed limit", RefusedHere),
            (&[Data, Content], "554 5.7.64 Relay Access Denied", Failed),
            (&[Data, Content], "554 5.7.1 relay access denied", Failed),
            (BEHIND_MAIL, "550 5.1.1 no such user", Failed),
            (BEHIND_MAIL, "550 5.1.1 no such user, we do not relay", Failed),
            (BEHIND_MAIL, "554 no", Failed),
            // Amazon SES, whose texts name no code of the account.
            (&[Content], "554 Message rejected: Email address is not verified.", Failed),
            (BEHIND_MAIL, "552 5.2.2 mailbox full", Failed),
            (ANY_STEP, "451 4.3.0 later", NextUpstream),
            // SendGrid counts its own way.
            (ANY_STEP, "403 You are not authorized to send from that email address", NextUpstream),
            (ANY_STEP, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", NextUpstream),
            (ANY_STEP, "454 Throttling failure: Daily message quota exceeded", NextUpstream),
            (ANY_STEP, "452 4.5.3 Too many recipients", NextUpstream),
            (&[Rcpt], "552 5.5.3 Too many recipients", NextUpstream),
            (&[Rcpt], "552 too many recipients", NextUpstream),
        ];
        for (steps, text, disposition) in rows {
            for step in *steps {
                assert_eq!(meaning(*step, &reply(text), false), *disposition, "{step:?} {text}");
            }
        }
    }

    #[test]
    fn relaying_is_known_by_its_word_and_not_by_names_of_hosts_and_people() {
        for text in [
            "554 5.7.1 <b@y.test>: Relay access denied",
            "554 5.7.1 <b@y.test>: Recipient address rejected: Relay access denied",
            "550 relay not permitted",
            "550-Please turn on SMTP Authentication in your mail client.\r\n550 (x) [192.0.2.1]:4 is not permitted to relay \
             through this server without authentication.",
            "550 5.7.1 <b@y.test>... Relaying denied",
            "550 5.7.1 Unable to relay for b@y.test",
            "513 Relaying denied.",
            "550 5.7.1 routed address relaying denied #131",
            "553 host denies relay.",
            "551 RELAY: not for you",
            "550 no (relay)",
            "550 denied:relay",
        ] {
            assert_eq!(
                meaning(TransactionStep::Rcpt, &reply(text), false),
                Disposition::RefusedHere,
                "{text}"
            );
        }
        for text in [
            "550 5.7.1 <relay@y.test>: Recipient rejected",
            "550 5.7.1 <\"a relay b\"@y.test>: Recipient rejected",
            "550 relay@y.test: no such user",
            "550 relay.y.test says no",
            "550 no: said [relay.y.test]:25.",
            "550 see https://relay.y.test/why",
            "550 relay1 says no",
            "550 no-relay",
            "550 prelay",
            "550 5.1.1 Relay access denied",
            "550 5.4.1 Recipient address rejected: Access denied",
            "550 Invalid recipient: <b@y.test>",
        ] {
            assert_eq!(meaning(TransactionStep::Rcpt, &reply(text), false), Disposition::Failed, "{text}");
        }
        assert_eq!(
            meaning(TransactionStep::Rcpt, &reply("454 4.7.1 <b@y.test>: Relay access denied"), false),
            Disposition::NextUpstream
        );
    }
}
