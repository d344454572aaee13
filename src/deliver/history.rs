//! Gathers what is kept of an attempt: one record for each time an upstream was asked.

use super::health::{Availability, UpstreamHealth};
use super::route::RouteConstraints;
use super::session_error::SessionError;
use super::transaction_result::{RecipientAnswer, TransactionResult, TransactionStep};
use super::way_out::WayOut;
use crate::config::settings::{Priority, Upstream};
use crate::mail::attempt::{AttemptAnswer, AttemptRecord, MOST_NAMED, SentChanges, StepTimes};
use crate::mail::{Address, printable, shortened};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Characters of a text that a record keeps.
const LONGEST_TEXT: usize = 512;

/// No session was to be had.
pub(super) fn no_session(
    at: Timestamp,
    upstream: &Upstream,
    why: String,
    connecting: Duration,
    error: &SessionError,
) -> AttemptRecord {
    AttemptRecord {
        at,
        upstream: upstream.name.clone(),
        why,
        session_error: Some(short(&error.text)),
        times: StepTimes { connect_ms: milliseconds(connecting), ..StepTimes::default() },
        dialogue: error.dialogue.clone(),
        ..AttemptRecord::default()
    }
}

/// A transaction about these recipients.
pub(super) fn transaction(
    at: Timestamp,
    why: String,
    connecting: Duration,
    recipients: &[&Address],
    result: &TransactionResult,
    sent: Option<SentChanges>,
    way_out: &mut WayOut,
) -> AttemptRecord {
    let answer = |(recipient, answer): (&&Address, &RecipientAnswer)| {
        let (stage, reply) = match answer {
            RecipientAnswer::Accepted(reply) => (Some("content"), Some(reply)),
            RecipientAnswer::Refused { step, reply, .. } => (Some(name(*step)), Some(reply)),
            RecipientAnswer::Unknown(_) => (Some("content"), None),
            RecipientAnswer::Unable(_) | RecipientAnswer::Undecided => (None, None),
        };
        AttemptAnswer {
            recipient: recipient.to_string(),
            stage: stage.map(str::to_owned),
            code: reply.map(|reply| reply.code),
            enhanced: reply.and_then(|reply| reply.enhanced),
            text: short(&answer.describe()),
        }
    };
    AttemptRecord {
        at,
        upstream: way_out.upstream().name.clone(),
        why,
        answers: recipients.iter().zip(&result.answers).take(MOST_NAMED).map(answer).collect(),
        unnamed: u32::try_from(recipients.len().saturating_sub(MOST_NAMED)).unwrap_or(u32::MAX),
        session_error: result.lost.as_ref().map(|error| short(&error.text)),
        times: StepTimes { connect_ms: milliseconds(connecting), ..result.times },
        tls: way_out.tls_facts(),
        dialogue: way_out.take_dialogue(),
        sent,
    }
}

/// A server's text, printable and no longer than a record needs it.
fn short(text: &str) -> String {
    shortened(printable(text), LONGEST_TEXT)
}

pub(super) fn name(step: TransactionStep) -> &'static str {
    match step {
        TransactionStep::Mail => "MAIL",
        TransactionStep::Rcpt => "RCPT",
        TransactionStep::Data => "DATA",
        TransactionStep::Content => "content",
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Why this upstream is asked: its rank, and what kept those of a better one, or of the same, from being asked.
pub(super) fn why(
    upstream: &Upstream,
    candidates: &[Arc<Upstream>],
    constraints: RouteConstraints<'_>,
    health: &UpstreamHealth,
) -> String {
    let rank = match upstream.priority {
        Priority::Default => "default",
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    let mut why = format!("priority {rank}");
    if let Some(site) = upstream.sites.first() {
        why += &format!(", of site {site}");
    }
    let failed_last = constraints.failed_last;
    let before = |other: &&Arc<Upstream>| {
        other.name != upstream.name
            && (other.priority <= upstream.priority || failed_last == Some(&upstream.name))
    };
    for other in candidates.iter().filter(before) {
        let name = &other.name;
        let kept = if constraints.tried.contains(name) {
            "was asked before in this attempt"
        } else if constraints.refused_by.contains(name) {
            "has refused it"
        } else if failed_last == Some(name) {
            "failed last"
        } else {
            match health.status(other).availability {
                Availability::Busy => "is busy",
                Availability::Limited => "has its rate used up",
                Availability::Open => "has its circuit open",
                Availability::Probing => "is being probed",
                Availability::Ok | Availability::Disabled => continue,
            }
        };
        why += &format!("; {name} {kept}");
    }
    why
}
