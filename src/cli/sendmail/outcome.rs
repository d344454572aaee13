//! What the server's answers mean to the caller: an exit code, and who got it.

use super::exit::{DATAERR, NOUSER, TEMPFAIL, UNAVAILABLE};
use crate::cli::submission::Submission;
use crate::deliver::transaction_result::{Missing, RecipientAnswer, TransactionStep};
use crate::mail::{Address, EnhancedCode, Reply};

/// What the caller is told.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct SendmailOutcome {
    /// See the module `sendmail`.
    pub(super) code: u8,
    /// One for each recipient that it was not accepted for, and what follows from that.
    pub(super) complaints: Vec<String>,
    /// One for each recipient that it was accepted for.
    pub(super) accepted: Vec<String>,
}

/// Judges the answers; `unusable` are recipients that could not be offered.
pub(super) fn of(recipients: &[Address], submission: &Submission, unusable: &[String]) -> SendmailOutcome {
    let Submission { answers, lost } = submission;
    let (mut complaints, mut accepted) = (unusable.to_vec(), Vec::new());
    let mut taken_for = Vec::new();
    for (recipient, answer) in recipients.iter().zip(answers) {
        let line = match (answer, lost) {
            (RecipientAnswer::Undecided, Some(error)) => format!("{recipient}: {}", error.text),
            (answer, _) => format!("{recipient}: {}", describe(answer)),
        };
        match answer {
            RecipientAnswer::Accepted(_) => {
                taken_for.push(recipient.as_str());
                accepted.push(line);
            }
            _ => complaints.push(line),
        }
    }
    let code = match complaints.is_empty() {
        true => 0,
        false if !accepted.is_empty() => NOUSER,
        false => refused_by_all(answers),
    };
    if code == NOUSER && !accepted.is_empty() {
        complaints.push(format!(
            "the message was accepted for {}: do not send it to them again",
            taken_for.join(", ")
        ));
    } else if code == TEMPFAIL && !answers.iter().any(|answer| matches!(answer, RecipientAnswer::Unknown(_)))
    {
        complaints.push("nothing was sent, try again later".to_owned());
    } else if code != 0 && code != TEMPFAIL {
        complaints.push("nothing was sent".to_owned());
    }
    SendmailOutcome { code, complaints, accepted }
}

/// In the words of who called sendmail: what an attempt calls an upstream is the server here.
fn describe(answer: &RecipientAnswer) -> String {
    match answer {
        RecipientAnswer::Unable(Missing::Size { size, limit }) => {
            format!("the message has {size} bytes, and the server takes {limit} at most")
        }
        RecipientAnswer::Unable(Missing::SmtpUtf8) => {
            "the address is not ASCII, and the server does not offer SMTPUTF8".to_owned()
        }
        RecipientAnswer::Unknown(what) => {
            format!("{what}: nobody knows whether it was accepted; sent again, it may arrive twice")
        }
        RecipientAnswer::Refused { reply, .. } if reply.code == 530 => {
            format!("{reply} (sendmail does not log in: let the server take mail from this machine without)")
        }
        other => other.describe(),
    }
}

/// The exit code where nobody was accepted. Where one may be accepted later, it is worth while to send it again.
fn refused_by_all(answers: &[RecipientAnswer]) -> u8 {
    let mut codes = answers.iter().map(code);
    let first = codes.next().unwrap_or(UNAVAILABLE);
    codes.fold(first, |all, one| match (all, one) {
        (TEMPFAIL, _) | (_, TEMPFAIL) => TEMPFAIL,
        (all, one) if all == one => all,
        _ => UNAVAILABLE,
    })
}

fn code(answer: &RecipientAnswer) -> u8 {
    match answer {
        RecipientAnswer::Refused { reply, .. } if !reply.is_permanent() => TEMPFAIL,
        RecipientAnswer::Refused { step: TransactionStep::Rcpt, reply, .. }
            if speaks_of_the_address(reply) =>
        {
            NOUSER
        }
        RecipientAnswer::Unable(Missing::SmtpUtf8) => DATAERR,
        RecipientAnswer::Unknown(_) | RecipientAnswer::Undecided => TEMPFAIL,
        RecipientAnswer::Accepted(_) | RecipientAnswer::Refused { .. } | RecipientAnswer::Unable(_) => {
            UNAVAILABLE
        }
    }
}

/// 5.1.x is about the address (RFC 3463 section 3.2).
fn speaks_of_the_address(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some(EnhancedCode(5, 1, _)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::transaction_result::Disposition;
    use crate::mail::ReplyParser;

    fn reply(text: &str) -> Reply {
        let mut parser = ReplyParser::default();
        parser.push(format!("{text}\r\n").as_bytes());
        parser.reply().unwrap().unwrap()
    }

    fn refused(step: TransactionStep, text: &str) -> RecipientAnswer {
        // What it would mean to an attempt does not matter here.
        RecipientAnswer::Refused { step, reply: reply(text), means: Disposition::Failed }
    }

    fn rcpt(text: &str) -> RecipientAnswer {
        refused(TransactionStep::Rcpt, text)
    }

    fn judge(answers: &[RecipientAnswer], unusable: &[&str]) -> SendmailOutcome {
        let recipients: Vec<Address> =
            (0..answers.len()).map(|number| format!("r{number}@x").parse().unwrap()).collect();
        let unusable: Vec<String> = unusable.iter().map(|text| (*text).to_owned()).collect();
        of(&recipients, &Submission { answers: answers.to_vec(), lost: None }, &unusable)
    }

    #[test]
    fn no_code_is_taken_for_another() {
        let taken = || RecipientAnswer::Accepted(reply("250 2.0.0 queued as X"));
        let unknown = || RecipientAnswer::Unknown("closed".into());
        let content = |text: &str| refused(TransactionStep::Content, text);
        for (answers, code) in [
            (vec![taken(), taken()], 0),
            // Whatever the reason, the message is on its way to somebody.
            (vec![taken(), rcpt("550 5.1.1 who?")], NOUSER),
            (vec![rcpt("452 4.2.2 full"), taken()], NOUSER),
            (vec![taken(), unknown()], NOUSER),
            (vec![rcpt("550 5.1.1 who?"), rcpt("553 5.1.3 what?")], NOUSER),
            (vec![rcpt("550 5.7.1 no")], UNAVAILABLE),
            (vec![rcpt("550 no")], UNAVAILABLE),
            (vec![rcpt("550 5.1.1 who?"), rcpt("550 5.7.1 no")], UNAVAILABLE),
            (vec![content("554 5.6.0 no")], UNAVAILABLE),
            (vec![content("452 4.3.1 full")], TEMPFAIL),
            (vec![rcpt("550 5.1.1 who?"), rcpt("451 4.3.0 later")], TEMPFAIL),
            (vec![unknown()], TEMPFAIL),
            (vec![RecipientAnswer::Undecided], TEMPFAIL),
            (vec![RecipientAnswer::Unable(Missing::SmtpUtf8)], DATAERR),
            (vec![RecipientAnswer::Unable(Missing::Size { size: 2, limit: 1 })], UNAVAILABLE),
        ] {
            assert_eq!(judge(&answers, &[]).code, code, "{answers:?}");
        }
        assert_eq!(judge(&[taken()], &["a b@x: no"]).code, NOUSER);
    }

    #[test]
    fn who_got_it_and_who_did_not_is_said() {
        let taken = RecipientAnswer::Accepted(reply("250 2.0.0 queued as X"));
        let outcome = judge(&[taken, rcpt("550 5.1.1 who?")], &["a b@x: no address"]);
        assert_eq!(
            outcome.complaints,
            [
                "a b@x: no address",
                "r1@x: 550 5.1.1 who?",
                "the message was accepted for r0@x: do not send it to them again"
            ]
        );
        assert_eq!(outcome.accepted, ["r0@x: 250 2.0.0 queued as X"]);
        let unknown = judge(&[RecipientAnswer::Unknown("closed".into())], &[]);
        assert_eq!(
            unknown.complaints,
            ["r0@x: closed: nobody knows whether it was accepted; sent again, it may arrive twice"]
        );
        assert_eq!(judge(&[rcpt("451 later")], &[]).complaints[1], "nothing was sent, try again later");
        assert_eq!(judge(&[rcpt("554 no")], &[]).complaints[1], "nothing was sent");
    }
}
