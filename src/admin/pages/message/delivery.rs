//! `GET /messages/{id}`: what became of each recipient, and what each upstream was asked and said.

use super::found::{NotShown, ShownMessage};
use super::head::MessageHead;
use crate::admin::extract::QueryKeys;
use crate::admin::json::RecipientJson;
use crate::admin::pages::frame::{PageFrame, page};
use crate::admin::pages::shown::{ShownTime, TextBudget, count, thousands};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::mail::attempt::{AttemptAnswer, AttemptRecord, StepTimes};
use crate::mail::{Mode, Recipient, RecipientState, Role};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Recipients on a page.
const RECIPIENTS: usize = 40;
/// Attempts on a page.
const ATTEMPTS: usize = 10;
/// Answers that are shown: of an attempt, and of all.
const ANSWERS: usize = 10;
const ALL_ANSWERS: usize = 40;
/// Bytes of texts of the recipients, of the attempts, and of the dialogues.
const RECIPIENT_TEXT: usize = 14_000;
const ATTEMPT_TEXT: usize = 12_000;
const DIALOGUE_TEXT: usize = 10_000;

#[derive(Template)]
#[template(path = "message/delivery.html")]
struct DeliveryPage {
    frame: PageFrame,
    head: MessageHead,
    /// `40 delivered`, where there are many.
    counts: Vec<String>,
    recipients: Vec<RecipientRow>,
    /// `51 to 100 of 1,200`, where they are on several pages.
    range: Option<String>,
    before: Option<usize>,
    after: Option<usize>,
    /// Newest first.
    attempts: Vec<ShownAttempt>,
    /// How many are not on this page, in words.
    other_attempts: Option<String>,
    shows_older: bool,
}

/// Which recipients and attempts are shown.
#[derive(Deserialize)]
pub(super) struct DeliveryQuery {
    #[serde(default)]
    from: usize,
    /// Of the attempts those that are not among the newest.
    #[serde(default)]
    older: bool,
}

/// What became of a recipient.
struct RecipientRow {
    address: String,
    is_report_copy: bool,
    state: &'static str,
    /// What a mode has to do with it.
    mode: Option<&'static str>,
    reply: Option<String>,
    upstream: Option<String>,
    refused_by: Vec<String>,
    failure_told: bool,
}

/// What one upstream was asked and said.
struct ShownAttempt {
    number: usize,
    at: ShownTime,
    upstream: String,
    why: String,
    is_well: bool,
    session_error: Option<String>,
    answers: Vec<ShownAnswer>,
    /// `and 90 more recipients`.
    others: Option<String>,
    steps: Vec<TimedStep>,
    total_ms: String,
    tls: Option<ShownTls>,
    /// The end of what was said, and whether that is all of it.
    dialogue: Option<(String, bool)>,
}

struct ShownAnswer {
    recipient: String,
    stage: String,
    code: Option<u16>,
    enhanced: Option<String>,
    /// For the style sheet.
    kind: &'static str,
    text: String,
}

/// What may still be shown of attempts.
struct Room {
    answers: usize,
    text: TextBudget,
    dialogue: TextBudget,
}

/// How long a step took: its place in a bar of 100, and in words.
struct TimedStep {
    name: &'static str,
    class: &'static str,
    ms: String,
    start: String,
    width: String,
}

/// TLS of a session.
struct ShownTls {
    text: String,
    certificate_expires: Option<ShownTime>,
}

/// See the module.
pub(super) async fn show(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<DeliveryQuery>,
    ShownMessage { frame, found }: ShownMessage,
) -> Result<Response, NotShown> {
    let records = admin.queue.attempts(found.id).await.map_err(Problem::from)?;
    let all = found.json.recipients.len();
    let from = if query.from < all { query.from } else { 0 };
    let to = (from + RECIPIENTS).min(all);
    let mut budget = TextBudget::new(RECIPIENT_TEXT);
    let pairs = found.json.recipients.iter().zip(&found.message.recipients);
    let recipients =
        pairs.skip(from).take(RECIPIENTS).map(|(json, one)| RecipientRow::of(json, one, &mut budget));
    let is_paged = all > RECIPIENTS;
    let mut room = Room {
        answers: ALL_ANSWERS,
        text: TextBudget::new(ATTEMPT_TEXT),
        dialogue: TextBudget::new(DIALOGUE_TEXT),
    };
    let newest_first = records.iter().enumerate().rev();
    let attempts: Vec<ShownAttempt> = newest_first
        .skip(if query.older { ATTEMPTS } else { 0 })
        .take(ATTEMPTS)
        .map(|(at, record)| ShownAttempt::of(at + 1, record, &mut room))
        .collect();
    let others = records.len().saturating_sub(attempts.len()) as u64;
    let shown = |number: usize| thousands(number as u64);
    Ok(page(&DeliveryPage {
        head: MessageHead::new(&found, "Delivery"),
        counts: if all > 10 { counts(&found.json.recipients) } else { Vec::new() },
        recipients: recipients.collect(),
        range: is_paged.then(|| format!("{} to {} of {}", shown(from + 1), shown(to), shown(all))),
        before: (from > 0).then(|| from.saturating_sub(RECIPIENTS)),
        after: (to < all).then_some(to),
        attempts,
        other_attempts: (others > 0).then(|| count(others, "attempt")),
        shows_older: query.older,
        frame,
    }))
}

fn counts(recipients: &[RecipientJson]) -> Vec<String> {
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for recipient in recipients {
        *counted.entry(state_word(recipient.state)).or_default() += 1;
    }
    counted.into_iter().map(|(state, number)| format!("{} {state}", thousands(number))).collect()
}

fn state_word(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Pending => "pending",
        RecipientState::Deferred => "deferred",
        RecipientState::Held => "held",
        RecipientState::Delivered => "delivered",
        RecipientState::Failed => "failed",
        RecipientState::Expired => "expired",
    }
}

impl RecipientRow {
    fn of(json: &RecipientJson, recipient: &Recipient, budget: &mut TextBudget) -> RecipientRow {
        let is_delivered = json.state == RecipientState::Delivered;
        RecipientRow {
            address: budget.text(&json.address, 254),
            is_report_copy: json.role == Role::ReportCopy,
            state: state_word(json.state),
            mode: json.mode.filter(|_| json.is_original()).map(|mode| match mode {
                Mode::Redirect if is_delivered => {
                    "Redirect: not sent to this address; report addresses got it."
                }
                Mode::Redirect => "Redirect: report addresses get it in place of this one.",
                Mode::Debug => "Debug: logged, and sent to nobody.",
                Mode::Simulate => "Simulate: the failure is made up, and nothing was sent.",
            }),
            reply: json.reply.as_deref().map(|reply| budget.text(reply, 300)),
            upstream: json.upstream.clone(),
            refused_by: json.refused_by.clone(),
            failure_told: recipient.failure_told,
        }
    }
}

impl ShownAttempt {
    fn of(number: usize, record: &AttemptRecord, room: &mut Room) -> ShownAttempt {
        let budget = &mut room.text;
        let most = ANSWERS.min(room.answers);
        let answers: Vec<ShownAnswer> =
            record.answers.iter().take(most).map(|answer| ShownAnswer::of(answer, budget)).collect();
        room.answers -= answers.len();
        let others = record.answers.len().saturating_sub(answers.len()) as u64 + u64::from(record.unnamed);
        ShownAttempt {
            number,
            at: record.at.into(),
            upstream: record.upstream.clone(),
            why: budget.text(&record.why, 500),
            is_well: record.session_error.is_none()
                && record.unnamed == 0
                && !record.answers.is_empty()
                && record.answers.iter().all(|answer| kind_of(answer.code) == "delivered"),
            session_error: record.session_error.as_deref().map(|error| budget.text(error, 500)),
            answers,
            others: (others > 0).then(|| format!("and {} more", count(others, "recipient"))),
            steps: steps(&record.times),
            total_ms: thousands(each_step(&record.times).iter().map(|(.., ms)| ms).sum()),
            tls: record.tls.as_ref().map(|tls| ShownTls {
                text: match &tls.key_exchange {
                    Some(key_exchange) => format!("{}, {}, {key_exchange}", tls.version, tls.cipher),
                    None => format!("{}, {}", tls.version, tls.cipher),
                },
                certificate_expires: tls.certificate_expires.map(ShownTime::from),
            }),
            dialogue: (!record.dialogue.is_empty()).then(|| room.dialogue.last_lines(&record.dialogue)),
        }
    }
}

impl ShownAnswer {
    fn of(answer: &AttemptAnswer, budget: &mut TextBudget) -> ShownAnswer {
        ShownAnswer {
            recipient: budget.text(&answer.recipient, 254),
            stage: match answer.stage.as_deref() {
                Some("content") => "end of content".to_owned(),
                Some(stage) => stage.to_owned(),
                None => "not asked".to_owned(),
            },
            code: answer.code,
            enhanced: answer.enhanced.map(|code| code.to_string()),
            kind: kind_of(answer.code),
            text: budget.text(&answer.text, 300),
        }
    }
}

/// What a reply's code means for the recipient, for the style sheet.
fn kind_of(code: Option<u16>) -> &'static str {
    match code {
        Some(200..300) => "delivered",
        Some(500..600) => "failed",
        _ => "deferred",
    }
}

fn each_step(times: &StepTimes) -> [(&'static str, &'static str, u64); 5] {
    [
        ("Connect", "connect", times.connect_ms),
        ("MAIL", "mail", times.mail_ms),
        ("RCPT", "rcpt", times.rcpt_ms),
        ("DATA", "data", times.data_ms),
        ("Content", "content", times.final_ms),
    ]
}

fn steps(times: &StepTimes) -> Vec<TimedStep> {
    let all = each_step(times);
    let total = all.iter().map(|(.., ms)| *ms).sum::<u64>().max(1) as f64;
    let mut before = 0;
    let step = |(name, class, ms): (&'static str, &'static str, u64)| {
        let start = format!("{:.2}", before as f64 * 100.0 / total);
        before += ms;
        TimedStep {
            name,
            class,
            ms: thousands(ms),
            start,
            width: format!("{:.2}", ms as f64 * 100.0 / total),
        }
    };
    all.into_iter().map(step).collect()
}
