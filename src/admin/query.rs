//! What the routes are asked, read from its words: which messages, and what to do with them.

use super::json::state_word;
use crate::mail::id::NotAQueueId;
use crate::mail::{MessageState, QueueId};
use crate::queue::{Filter, OperatorAction};
use serde::{Deserialize, Serialize};

/// The query of a listing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesQuery {
    /// One state or several with commas between them.
    pub state: Option<String>,
    /// Text to look for.
    pub q: Option<String>,
    /// At most that many.
    pub limit: Option<usize>,
    /// From a page's `next_cursor`.
    pub cursor: Option<String>,
}

/// What `POST /api/v1/messages/bulk` takes: ids, or all that a filter means.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BulkQuery {
    /// `retry`, `hold`, `release` or `delete`.
    pub action: String,
    /// These messages.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Or all messages …
    #[serde(default)]
    pub all: bool,
    /// … in these states …
    #[serde(default)]
    pub state: Option<String>,
    /// … with this text.
    #[serde(default)]
    pub q: Option<String>,
}

/// What `POST /api/v1/messages/{id}/resend` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResendQuery {
    /// Also what no upstream has taken because of a mode.
    #[serde(default)]
    pub confirm: bool,
}

/// What is wrong with a query, in words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub(crate) struct QueryError(pub String);

/// Messages on a page of a listing, where nobody says how many.
pub(super) const PAGE: usize = 100;
/// And at most.
pub(super) const LARGEST_PAGE: usize = 1_000;

/// A queue id as somebody wrote it.
pub(crate) fn id(text: &str) -> Result<QueueId, QueryError> {
    text.parse().map_err(|error: NotAQueueId| QueryError(error.to_string()))
}

/// The filter that `state` and `q` mean.
pub(crate) fn filter(state: Option<&str>, q: Option<&str>) -> Result<Filter, QueryError> {
    let states = state
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| {
            [
                MessageState::Queued,
                MessageState::Deferred,
                MessageState::Held,
                MessageState::Failed,
                MessageState::Sent,
            ]
            .into_iter()
            .find(|state| state_word(*state) == word)
            .ok_or_else(|| {
                QueryError(format!("`{word}` is no state: queued, deferred, held, failed or sent"))
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Filter { states, text: q.filter(|text| !text.is_empty()).map(str::to_owned) })
}

/// A filter as it is written on the command line: `state=failed`, and other words as text to look for.
pub(crate) fn expression(text: &str) -> (Option<String>, Option<String>) {
    let (mut state, mut words) = (None, Vec::new());
    for word in text.split_whitespace() {
        match word.strip_prefix("state=").or(word.strip_prefix("state:")) {
            Some(value) => state = Some(value.to_owned()),
            None => words.push(word.strip_prefix("q=").unwrap_or(word)),
        }
    }
    (state, (!words.is_empty()).then(|| words.join(" ")))
}

/// The action that a word names.
pub(crate) fn action(word: &str) -> Result<OperatorAction, QueryError> {
    match word {
        "retry" => Ok(OperatorAction::Retry),
        "hold" => Ok(OperatorAction::Hold),
        "release" => Ok(OperatorAction::Release),
        "delete" => Ok(OperatorAction::Delete),
        _ => Err(QueryError(format!("`{word}` is no action: retry, hold, release or delete"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_expressions_are_read() {
        let both = filter(Some("failed, held"), Some("ann")).unwrap();
        assert_eq!(both.states, [MessageState::Failed, MessageState::Held]);
        assert_eq!(both.text.as_deref(), Some("ann"));
        assert!(filter(Some("lost"), None).unwrap_err().0.contains("`lost`"));
        assert_eq!(expression("state=failed big shop"), (Some("failed".into()), Some("big shop".into())));
        assert_eq!(
            action("resend"),
            Err(QueryError("`resend` is no action: retry, hold, release or delete".into()))
        );
    }
}
