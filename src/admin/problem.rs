//! Errors as `application/problem+json` (RFC 9457).

use super::query::QueryError;
use crate::config::{ChangeError, ConfigErrors};
use crate::queue::FilterError;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wrong, and what to change (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Problem {
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong here.
    pub detail: String,
    /// All of them, where there are several (configuration errors).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<serde_json::Value>,
}

impl Problem {
    /// A problem with nothing but a sentence.
    pub(crate) fn new(status: StatusCode, detail: impl ToString) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem { status: status.as_u16(), title, detail: detail.to_string(), errors: Vec::new() }
    }
}

/// Of a message that is neither in the queue nor archived.
pub(crate) fn nowhere(id: &str) -> String {
    format!(
        "message {id} is neither in the queue nor in the archive; `postroom events --id {id}` says what became of it"
    )
}

/// Of one that has left the queue and is archived.
pub(crate) fn was_sent(id: &str, sent_at: Timestamp) -> String {
    format!("it was sent at {sent_at:.0}; `postroom sent resend {id}` sends it again")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = super::safe_json::to_json(&self).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        // For who shows it as a page.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<ConfigErrors> for Problem {
    fn from(errors: ConfigErrors) -> Problem {
        Problem {
            errors: errors.errors.iter().filter_map(|error| serde_json::to_value(error).ok()).collect(),
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, errors)
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Problem {
        let status = match error {
            ChangeError::Wrong(errors) => return errors.into(),
            ChangeError::NotFound(_) => StatusCode::NOT_FOUND,
            ChangeError::Unconfirmed(ref what) => {
                let what = serde_json::json!({ "ends": what });
                return Problem { errors: vec![what], ..Problem::new(StatusCode::CONFLICT, error) };
            }
            ChangeError::Refused(_) => StatusCode::CONFLICT,
            ChangeError::NotStored(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, error)
    }
}

impl From<FilterError> for Problem {
    fn from(error: FilterError) -> Problem {
        let place = serde_json::json!({ "column": error.column(), "what": error.what() });
        Problem { errors: vec![place], ..Problem::new(StatusCode::BAD_REQUEST, error) }
    }
}

impl From<crate::queue::QueueError> for Problem {
    fn from(error: crate::queue::QueueError) -> Problem {
        use crate::queue::QueueError;
        let status = match error {
            QueueError::NotFound(id) => {
                return Problem::new(StatusCode::NOT_FOUND, nowhere(&id.to_string()));
            }
            QueueError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            QueueError::Storage(_)
            | QueueError::StagedLost(_)
            | QueueError::AlreadyTaken
            | QueueError::FencedOff(_)
            | QueueError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            QueueError::Damaged { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Problem::new(status, error)
    }
}
