//! `GET /messages/{id}/sent`: the envelope and the header as an upstream got them beside the original ones, what differs marked.

use super::content::{in_background, read};
use super::found::{FoundMessage, NotShown, ShownMessage};
use super::head::MessageHead;
use super::text::shown_text;
use crate::admin::extract::QueryKeys;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::pages::shown::{ShownTime, count, escaped_len, short};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::mail::attempt::SentChanges;
use crate::mail::header::fields;
use crate::mail::{Address, AttemptRecord, printable_bytes};
use crate::policy::plan::{Action, EnvelopeKind, plan};
use crate::policy::sent::sent_header;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// Bytes of the header that are looked at.
const LOOKED_AT: u64 = 256 << 10;
/// Bytes of HTML that are made of fields, and bytes beside the texts of each.
const MOST: usize = 50 << 10;
const EACH: usize = 200;
/// Bytes of a field.
const LONGEST: usize = 2_000;
/// Recipients that are named.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "message/sent.html")]
struct SentVersionPage {
    frame: PageFrame,
    head: MessageHead,
    /// None: nothing was sent.
    version: Option<SentVersion>,
    /// Attempts that sent something, to choose from.
    choices: Vec<Choice>,
    /// Where nothing was sent: what would happen now.
    now: Vec<String>,
}

struct Choice {
    number: usize,
    upstream: String,
    at: ShownTime,
    is_current: bool,
}

struct SentVersion {
    upstream: String,
    at: ShownTime,
    envelope: Vec<Compared>,
    fields: Vec<Compared>,
    /// `3 added, 1 left out`.
    summary: String,
    /// Fields that are not shown.
    others: usize,
    added_is_cut: bool,
}

/// A line of the original beside one of what was sent.
#[derive(Debug, PartialEq, Eq)]
struct Compared {
    difference: Difference,
    /// Of the envelope.
    name: &'static str,
    original: Option<String>,
    sent: Option<String>,
}

/// What became of it on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    Same,
    Added,
    LeftOut,
    Changed,
}

impl Difference {
    fn word(self) -> &'static str {
        match self {
            Difference::Same => "same",
            Difference::Added => "added",
            Difference::LeftOut => "left out",
            Difference::Changed => "changed",
        }
    }
}

impl Compared {
    fn word(&self) -> &'static str {
        self.difference.word()
    }

    fn is_same(&self) -> bool {
        self.difference == Difference::Same
    }
}

/// Which attempt.
#[derive(Deserialize)]
pub(super) struct AttemptQuery {
    attempt: Option<usize>,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<AttemptQuery>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let content = match read(&admin, &found, Some(LOOKED_AT)).await {
        Ok(content) => content,
        Err(unreadable) => return Ok(unreadable.page(frame, &found, "Sent version")),
    };
    let head = MessageHead::new(&found, "Sent version");
    let records = admin.queue.attempts(found.id).await.map_err(Problem::from)?;
    let sent =
        records.iter().enumerate().rev().filter_map(|(at, one)| Some((at + 1, one, one.sent.as_ref()?)));
    let sent: Vec<(usize, &AttemptRecord, &SentChanges)> = sent.collect();
    let wanted = sent.iter().find(|(number, ..)| Some(*number) == query.attempt).or(sent.first());
    let choice = |(number, record, _): &(usize, &AttemptRecord, &SentChanges)| Choice {
        number: *number,
        upstream: record.upstream.clone(),
        at: record.at.into(),
        is_current: wanted.is_some_and(|(current, ..)| current == number),
    };
    let choices = sent.iter().map(choice).collect();
    let version = match wanted {
        Some((_, record, changes)) => {
            let (envelope, at) = (envelope(&found, record, changes), record.at.into());
            let (upstream, changes) = (record.upstream.clone(), (*changes).clone());
            Some(
                in_background(move || SentVersion::new(upstream, at, envelope, &content.bytes, &changes))
                    .await?,
            )
        }
        None => None,
    };
    let now = if version.is_none() { planned(&admin, &found) } else { Vec::new() };
    Ok(page(&SentVersionPage { frame, head, version, choices, now }))
}

fn envelope(found: &FoundMessage, record: &AttemptRecord, changes: &SentChanges) -> Vec<Compared> {
    let path = |path: Option<&str>| path.map_or("<>".to_owned(), |path| short(path, 254));
    let (old, new) = (path(found.json.reverse_path.as_deref()), path(changes.reverse_path.as_deref()));
    let originals = found.json.recipients.iter().filter(|one| one.is_original());
    let originals: Vec<&str> = originals.map(|one| one.address.as_str()).collect();
    let sent: Vec<&str> = record.answers.iter().map(|one| one.recipient.as_str()).collect();
    let unnamed = record.unnamed as usize;
    // A transaction is for some of them, unless they are others.
    let is_same = sent.iter().all(|one| originals.contains(one));
    let line = |name, is_same: bool, original: String, sent: String| Compared {
        difference: if is_same { Difference::Same } else { Difference::Changed },
        name,
        original: Some(original),
        sent: Some(sent),
    };
    vec![
        line("Reverse-path", old == new, old, new),
        line("Recipients", is_same, listed(&originals, 0), listed(&sent, unnamed)),
    ]
}

fn listed(addresses: &[&str], unnamed: usize) -> String {
    let named: Vec<String> = addresses.iter().take(NAMED).map(|one| short(one, 100)).collect();
    match addresses.len() + unnamed - named.len() {
        0 => named.join(", "),
        others => format!("{} and {} more", named.join(", "), count(others as u64, "recipient")),
    }
}

impl SentVersion {
    fn new(
        upstream: String,
        at: ShownTime,
        envelope: Vec<Compared>,
        original: &[u8],
        changes: &SentChanges,
    ) -> SentVersion {
        let mut all = compare(original, changes);
        let counted = |difference: Difference| {
            let number = all.iter().filter(|one| one.difference == difference).count();
            (number > 0).then(|| format!("{number} {}", difference.word()))
        };
        let counts =
            [Difference::Added, Difference::LeftOut, Difference::Changed].into_iter().filter_map(counted);
        let counts: Vec<String> = counts.collect();
        let before = all.len();
        let mut room = MOST;
        all.retain(|one| {
            let length = |text: &Option<String>| text.as_deref().map_or(0, escaped_len);
            let left = room.checked_sub(EACH + length(&one.original) + length(&one.sent));
            room = left.unwrap_or(room);
            left.is_some()
        });
        let others = before - all.len();
        let summary = if counts.is_empty() { "nothing differs".to_owned() } else { counts.join(", ") };
        SentVersion {
            upstream,
            at,
            envelope,
            fields: all,
            summary,
            others,
            added_is_cut: changes.added_is_cut,
        }
    }
}

/// The fields of both, in the order in which they were sent; what was left out where it stood.
fn compare(original: &[u8], changes: &SentChanges) -> Vec<Compared> {
    let sent = sent_header(original, changes);
    let mut sent = fields(&sent);
    let line = |difference, original: Option<String>, sent: Option<String>| Compared {
        difference,
        name: "",
        original,
        sent,
    };
    let added = fields(changes.added.as_bytes()).count();
    let mut all: Vec<Compared> =
        sent.by_ref().take(added).map(|field| line(Difference::Added, None, Some(shown(field)))).collect();
    for field in fields(original) {
        let is_bcc = [&b"Bcc"[..], b"Resent-Bcc"].iter().any(|name| field.0.eq_ignore_ascii_case(name));
        if is_bcc {
            all.push(line(Difference::LeftOut, Some(shown(field)), None));
            continue;
        }
        let Some(left) = sent.next() else { break };
        let difference = if left == field { Difference::Same } else { Difference::Changed };
        all.push(line(difference, Some(shown(field)), Some(shown(left))));
    }
    all
}

fn shown((name, value): (&[u8], &[u8])) -> String {
    let is_cut = value.len() > LONGEST;
    let lines = value[..value.len().min(LONGEST)].split(|byte| *byte == b'\n');
    let value = lines.map(|line| printable_bytes(line.strip_suffix(b"\r").unwrap_or(line)));
    let text = format!("{}:{}", printable_bytes(name), value.collect::<Vec<_>>().join("\n"));
    let (text, _) = shown_text(text.trim_end(), &mut (4 * LONGEST));
    if is_cut { text + "…" } else { text }
}

/// What would happen if an attempt began now, in sentences.
fn planned(admin: &AdminState, found: &FoundMessage) -> Vec<String> {
    if found.sent.is_some() {
        return Vec::new();
    }
    let settings = admin.settings.borrow().clone();
    let plan = plan(settings.handling_of(&found.message.site), &found.message);
    let named = |addresses: &[Address]| {
        let all: Vec<&str> = addresses.iter().map(Address::as_str).collect();
        listed(&all, 0)
    };
    match &plan.action {
        Action::Wait => vec!["Sending is off: it waits.".to_owned()],
        Action::Hold(_) => vec!["It is held, and nothing is sent until it is released.".to_owned()],
        Action::Simulate => vec!["Simulate is on: each attempt fails, and nothing leaves.".to_owned()],
        Action::LogOnly(_) => vec!["Debug is on: it is logged, and nothing leaves.".to_owned()],
        Action::Send(envelopes) if envelopes.is_empty() => {
            vec!["No recipient is open: nothing would be sent now.".to_owned()]
        }
        Action::Send(envelopes) => envelopes
            .iter()
            .map(|envelope| match &envelope.kind {
                EnvelopeKind::Direct => format!("Now it would go to {}.", named(&envelope.recipients)),
                EnvelopeKind::ReportCopy(originals) => format!(
                    "Redirect is on: now it would go to {}, in place of {}.",
                    named(&envelope.recipients),
                    named(originals)
                ),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::attempt::RenamedField;

    #[test]
    fn what_differs_stands_beside_what_it_was() {
        let changes = SentChanges {
            added: "Received: by us\r\n\twith x\r\nFrom: us@a.test\r\n".to_owned(),
            renamed: vec![RenamedField { old: "From".to_owned(), new: "X-Original-From".to_owned() }],
            ..SentChanges::default()
        };
        let original = b"Subject: t\r\nBcc: secret@a.test\r\nfrom: app@a.test\r\n\r\nBcc: body\r\n";
        let all = compare(original, &changes);
        let all: Vec<_> =
            all.iter().map(|one| (one.word(), one.original.as_deref(), one.sent.as_deref())).collect();
        assert_eq!(
            all,
            [
                ("added", None, Some("Received: by us\n with x")),
                ("added", None, Some("From: us@a.test")),
                ("same", Some("Subject: t"), Some("Subject: t")),
                ("left out", Some("Bcc: secret@a.test"), None),
                ("changed", Some("from: app@a.test"), Some("X-Original-From: app@a.test")),
            ]
        );
        assert_eq!(compare(b"no header\r\n", &changes).len(), 2);
    }
}
