//! The part of a notice that people read: what happened, who said so, what they can do.

use super::super::added;
use super::report::NoticeContext;
use super::status::EXPIRED;
use super::told::{DsnAction, Told};
use crate::event::encoded_words::decode_words;
use crate::mail::{EnhancedCode, Message, Verdict, printable};

pub(super) fn subject(worst: DsnAction) -> &'static str {
    match worst {
        DsnAction::Failed => "Undelivered Mail Returned to Sender",
        DsnAction::Delayed => "Delayed Mail (still being retried)",
        DsnAction::Relayed => "Successful Mail Delivery Report (relayed)",
    }
}

/// Lines with CRLF, of which everything that others wrote is printable.
pub(super) fn text(context: &NoticeContext<'_>, message: &Message, told: &[Told<'_>]) -> String {
    let mut lines = vec![
        format!("This is the mail server {}. It has news about this message of yours:", context.hostname),
        String::new(),
    ];
    if let Some(subject) = message.header.subject.as_deref().map(decode_words).filter(|text| !text.is_empty())
    {
        lines.push(format!("    Subject:  {subject}"));
    }
    lines.push(format!("    From:     {}", printable(message.reverse_path.as_str())));
    lines.push(format!("    Received: {}", added::date(message.received_at)));
    lines.push(format!("    Queue id: {}", message.id));
    for action in [DsnAction::Failed, DsnAction::Delayed, DsnAction::Relayed] {
        let of_it: Vec<&Told<'_>> = told.iter().filter(|one| one.action == action).collect();
        if of_it.is_empty() {
            continue;
        }
        lines.push(String::new());
        lines.extend(heading(action).iter().map(|line| (*line).to_owned()));
        for one in of_it {
            lines.push(String::new());
            recipient(&mut lines, context, one);
        }
    }
    lines.push(String::new());
    lines.push("The report for programs and what is returned of your message are attached.".to_owned());
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

fn heading(action: DsnAction) -> &'static [&'static str] {
    match action {
        DsnAction::Failed => {
            &["It could NOT be delivered to the following recipients, and will not be tried again."]
        }
        DsnAction::Delayed => &[
            "It could not be delivered yet to the following recipients. You need not send it again:",
            "it is still being tried, and you will hear if it has to be given up.",
        ],
        DsnAction::Relayed => &[
            "It was handed to the next mail server for the following recipients. That server does not",
            "report on delivery: you will hear of them again only if it fails there.",
        ],
    }
}

fn recipient(lines: &mut Vec<String>, context: &NoticeContext<'_>, told: &Told<'_>) {
    let Told { recipient, verdict, action } = told;
    lines.push(format!("  <{}>", printable(recipient.address.as_str())));
    let reply = printable(&verdict.reply);
    match verdict.upstream.as_deref().map(|name| (name, context.host_of(name))) {
        Some((name, Some(host))) => {
            lines.push(format!("      The mail server {host} ({name}) said: {reply}"))
        }
        Some((name, None)) => lines.push(format!("      The mail server {name} said: {reply}")),
        None => lines.push(format!("      What happened: {reply}")),
    }
    if *action == DsnAction::Failed {
        lines.push(format!("      What you can do: {}", advice(verdict)));
    }
}

/// What the enhanced code speaks of (RFC 3463).
fn advice(verdict: &Verdict) -> &'static str {
    let EnhancedCode(_, subject, detail) = verdict.enhanced;
    match (subject, detail) {
        _ if verdict.enhanced == EXPIRED => {
            "it was tried for as long as mail is kept. Send it again later, or reach the recipient another way."
        }
        (1, 0..=6 | 10) => "check the address for a mistake, and ask the recipient for the right one.",
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
