//! The part of a notice that people read: what happened, who said so, what they can do.

use super::super::added;
use super::report::{NoticeContext, Returned};
use super::said::{VerdictWords, may_have_arrived};
use super::status::EXPIRED;
use super::told::{DsnAction, DueNotice, Told, is_asked_for};
use crate::event::encoded_words::decode_words;
use crate::mail::{EnhancedCode, Grounds, Message, Verdict, printable};

/// Whom the text names; the status names all.
const MOST_NAMED: usize = 100;
/// Of what a server said.
const LONGEST_REPLY: usize = 1_000;
const READABLE_LINE: usize = 90;
const CHECK_ADDRESS: &str = "check the address for a mistake, and ask the recipient for the right one.";

pub(super) fn subject(worst: DsnAction) -> &'static str {
    match worst {
        DsnAction::Failed => "Undelivered Mail Returned to Sender",
        DsnAction::Delayed => "Delayed Mail (still being retried)",
        DsnAction::Relayed => "Successful Mail Delivery Report (relayed)",
    }
}

/// Lines with CRLF, of which everything that others wrote is printable. `named`: of so many recipients the status tells.
pub(super) fn text(
    context: &NoticeContext<'_>,
    message: &Message,
    due: &DueNotice<'_>,
    named: usize,
    returned: &Returned<'_>,
) -> String {
    let mut lines = vec![
        format!("This is the mail server {}. It has news about this message:", context.hostname),
        String::new(),
    ];
    if let Some(subject) = message.header.subject.as_deref().map(decode_words).filter(|text| !text.is_empty())
    {
        lines.push(format!("    Subject:  {subject}"));
    }
    lines.push(format!("    From:     {}", printable(message.reverse_path.as_str())));
    lines.push(format!("    Received: {}", added::date(message.received_at)));
    lines.push(format!("    Queue id: {}", message.id));
    let mut room = MOST_NAMED.min(named);
    for action in [DsnAction::Failed, DsnAction::Delayed, DsnAction::Relayed] {
        let of_it: Vec<&Told<'_>> = due.told.iter().filter(|one| one.action == action).collect();
        if of_it.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.extend(heading(action, &of_it));
        for one in of_it.iter().take(room) {
            lines.push(String::new());
            recipient(&mut lines, context, one);
        }
        let more = of_it.len().saturating_sub(room);
        room = room.saturating_sub(of_it.len());
        if more > 0 {
            lines.push(String::new());
            lines.push(format!("  and {more} more"));
        }
    }
    lines.push(String::new());
    if let Some(why) = returned.why_less {
        lines.push(format!("Not all of the message is returned: {why}."));
    }
    lines.push(match (named < due.told.len(), returned.header.is_empty() && returned.whole.is_none()) {
        (true, _) => "The report for programs names some of these recipients; all are known by the queue id."
            .to_owned(),
        (false, true) => "The report for programs is attached.".to_owned(),
        (false, false) => {
            "The report for programs and what is returned of the message are attached.".to_owned()
        }
    });
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn heading(action: DsnAction, told: &[&Told<'_>]) -> Vec<String> {
    let hears = told.iter().all(|one| is_asked_for(one.recipient.notify, DsnAction::Failed));
    let lines: &[&str] = match action {
        DsnAction::Failed => {
            &["It could NOT be delivered to the following recipients, and will not be tried again."]
        }
        DsnAction::Delayed if hears => &[
            "It could not be delivered yet to the following recipients. It need not be sent again:",
            "it is still being tried, and you will hear if it has to be given up.",
        ],
        DsnAction::Delayed => &[
            "It could not be delivered yet to the following recipients. It need not be sent again:",
            "it is still being tried.",
        ],
        DsnAction::Relayed => &[
            "It was handed on for the following recipients, to where nobody reports that it was delivered.",
            "If it fails there, the address that it was sent from hears of it.",
        ],
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn recipient(lines: &mut Vec<String>, context: &NoticeContext<'_>, told: &Told<'_>) {
    let Told { recipient, verdict, action } = told;
    lines.push(format!("  <{}>", printable(recipient.address.as_str())));
    let said = VerdictWords::of(context, verdict);
    let words = printable(&said.words(LONGEST_REPLY));
    let upstream = verdict.upstream.as_deref().unwrap_or_default();
    let what = match (said.by_server, said.host) {
        (true, Some(host)) => format!("The mail server {host} ({upstream}) said: {words}"),
        (true, None) => format!("The mail server {upstream} said: {words}"),
        (false, _) => format!("What happened: {words}"),
    };
    push_indented(lines, &what);
    if *action == DsnAction::Failed {
        let advice = match may_have_arrived(recipient, verdict) {
            true => {
                "it may have arrived all the same: a server was given all of it and did not answer. \
                     Ask the recipient before you send it again."
            }
            false => advice(verdict),
        };
        push_indented(lines, &format!("What you can do: {advice}"));
    }
}

/// Folded where there is a blank, so that it is read without scrolling.
fn push_indented(lines: &mut Vec<String>, text: &str) {
    let mut line = " ".repeat(5);
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > READABLE_LINE && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, " ".repeat(7)));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
}

/// What the enhanced code speaks of (RFC 3463).
fn advice(verdict: &Verdict) -> &'static str {
    let EnhancedCode(_, subject, detail) = verdict.enhanced;
    match (subject, detail) {
        // Servers without enhanced codes say so of an address that they do not know.
        (0, 0) if verdict.grounds == Grounds::Rcpt && verdict.reply.starts_with("550") => CHECK_ADDRESS,
        (6, 7) => {
            "its letters are not all ASCII, which not every mail server takes. Ask the recipient for an address in ASCII letters."
        }
        _ if verdict.enhanced == EXPIRED => {
            "it was tried for as long as mail is kept. Send it again later, or reach the recipient another way."
        }
        (1, 0..=6 | 10) => CHECK_ADDRESS,
        (1, 7 | 8) | (7, 60) => {
            "the address that it was sent from was refused. Ask those who run your mail server."
        }
        (2, 2) => "the mailbox is full. Tell the recipient another way, and send it again later.",
        (2, 3) | (3, 4) => "it is too large. Send it without attachments, or in parts.",
        (2, _) => "the mailbox takes no mail now. Reach the recipient another way.",
        (6, _) => "the server cannot handle its form. Send it as plain text.",
        (7, _) => {
            "the server does not let it through. Ask the recipient, or those who run your mail server, why."
        }
        _ => "show this notice to those who run your mail server.",
    }
}
