//! What upstreams were asked about a message and said.

use super::extract::PathPart;
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::{MessageId, id};
use super::state::AdminState;
use crate::mail::AttemptRecord;
use crate::mail::attempt::{AttemptAnswer, SentChanges, StepTimes, TlsFacts};
use crate::queue::QueueError;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One upstream that was asked in an attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AttemptJson {
    /// UTC.
    pub at: Timestamp,
    pub upstream: String,
    /// Why this one.
    pub why: String,
    /// What it said of each recipient.
    pub answers: Vec<AnswerJson>,
    /// Further recipients, which are not named.
    pub unnamed: u32,
    /// Null where the session was sound.
    pub session_error: Option<String>,
    /// Milliseconds.
    pub times: StepTimes,
    /// Null without TLS.
    pub tls: Option<TlsFacts>,
    /// What it was given otherwise than it was stored. Null where there was no session.
    #[serde(default)]
    pub sent: Option<SentChanges>,
}

/// What an upstream said of one recipient.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AnswerJson {
    pub recipient: String,
    /// `MAIL`, `RCPT`, `DATA`, or `content` for the final dot.
    pub stage: Option<String>,
    pub code: Option<u16>,
    /// As `5.1.1`.
    pub enhanced: Option<String>,
    pub text: String,
}

impl From<&AttemptRecord> for AttemptJson {
    fn from(record: &AttemptRecord) -> AttemptJson {
        AttemptJson {
            at: record.at,
            upstream: record.upstream.clone(),
            why: record.why.clone(),
            answers: record.answers.iter().map(AnswerJson::from).collect(),
            unnamed: record.unnamed,
            session_error: record.session_error.clone(),
            times: record.times,
            tls: record.tls.clone(),
            sent: record.sent.clone(),
        }
    }
}

impl From<&AttemptAnswer> for AnswerJson {
    fn from(answer: &AttemptAnswer) -> AnswerJson {
        AnswerJson {
            recipient: answer.recipient.clone(),
            stage: answer.stage.clone(),
            code: answer.code,
            enhanced: answer.enhanced.map(|code| code.to_string()),
            text: answer.text.clone(),
        }
    }
}

/// Show attempts
///
/// Which upstreams were asked about a message, and what they said; oldest first.
#[utoipa::path(
    get, path = "/api/v1/messages/{id}/attempts", tag = "messages", params(MessageId),
    responses((status = 200, description = "The attempts", body = Vec<AttemptJson>))
)]
pub(super) async fn list(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<JsonResponse<Vec<AttemptJson>>, Problem> {
    Ok(JsonResponse(records(&admin, &name).await?.iter().map(AttemptJson::from).collect()))
}

/// Show dialogues
///
/// The last one with each upstream, as text.
#[utoipa::path(
    get, path = "/api/v1/messages/{id}/transcript", tag = "messages", params(MessageId),
    responses((status = 200, description = "The dialogues", body = String, content_type = "text/plain; charset=utf-8"))
)]
pub(super) async fn transcript(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
) -> Result<Response, Problem> {
    let text = transcript_of(&records(&admin, &name).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn records(admin: &AdminState, name: &str) -> Result<Vec<AttemptRecord>, Problem> {
    let id = id(name)?;
    if let Err(QueueError::NotFound(_)) = admin.queue.show(id).await {
        admin.queue.show_sent(id).await?;
    }
    Ok(admin.queue.attempts(id).await?)
}

/// The dialogues that are kept, each under a heading.
pub(crate) fn transcript_of(records: &[AttemptRecord]) -> String {
    let told = records.iter().filter(|record| !record.dialogue.is_empty());
    told.map(|record| format!("-- {:.0} {}\n{}", record.at, record.upstream, record.dialogue)).collect()
}
