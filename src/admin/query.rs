//! What the routes are asked, read from its words: which messages, and what to do with them.

use super::json::state_word;
use crate::event::{EventFilter, EventType};
use crate::mail::id::NotAQueueId;
use crate::mail::{MessageState, QueueId};
use crate::queue::{Filter, OperatorAction, parse_time};
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

/// The query of a listing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesQuery {
    /// One state or several with commas between them.
    pub state: Option<String>,
    /// In the filter language.
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
    /// These messages …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// … or all …
    #[serde(default)]
    pub all: bool,
    /// … or those that a filter means.
    #[serde(default)]
    pub filter: Option<String>,
    /// Counts them and changes none.
    #[serde(default)]
    pub dry_run: bool,
    /// Releases what a mode holds, too.
    #[serde(default)]
    pub confirm: bool,
    /// None that is newer: `until` of an earlier answer, so that what was counted is what is meant.
    #[serde(default)]
    pub until: Option<String>,
    /// Ages in the filter count from then: `now` of an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// What was counted before somebody was asked. Where more is meant by now, nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<CountedQuery>,
}

/// From an answer to a `dry_run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountedQuery {
    pub matching: u64,
    #[serde(default)]
    pub held_by_mode: u64,
}

/// What `POST /api/v1/messages/{id}/release` and `resend` take; `retry` and `hold` take it, too, and need nothing of it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActQuery {
    /// Releases what a mode holds; sends again what no upstream has taken because of a mode.
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

/// What `state` means: one state or several with commas between them.
pub(crate) fn states(state: Option<&str>) -> Result<Filter, QueryError> {
    let words = state.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    let known = [
        MessageState::Queued,
        MessageState::Deferred,
        MessageState::Held,
        MessageState::Failed,
        MessageState::Sent,
    ];
    let find = |word: &str| {
        let found = known.into_iter().find(|state| state_word(*state) == word);
        let none = || QueryError(format!("`{word}` is no state: queued, deferred, held, failed or sent"));
        found.ok_or_else(none)
    };
    Ok(Filter::of_states(words.map(find).collect::<Result<_, _>>()?))
}

/// The filter that the words of a query mean.
pub(crate) fn event_filter(
    types: Option<&str>,
    code: Option<&str>,
    source: Option<&str>,
    since: Option<&str>,
    queue_id: Option<&str>,
    now: &Zoned,
) -> Result<EventFilter, QueryError> {
    let words = types.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
    let find = |word: &str| {
        let known = [EventType::Information, EventType::Warning, EventType::Error];
        let found = known.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(word));
        found.ok_or_else(|| QueryError(format!("`{word}` is no type: Information, Warning or Error")))
    };
    Ok(EventFilter {
        types: words.map(find).collect::<Result<_, _>>()?,
        code: code.map(str::to_owned),
        source: source.map(str::to_owned),
        since: since.map(|since| parse_time(since, now)).transpose().map_err(QueryError)?,
        queue_id: queue_id.map(id).transpose()?,
    })
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

/// The action, which for a release depends on whether it was confirmed that mail that a mode holds is meant.
pub(crate) fn confirmed(action: OperatorAction, confirm: bool) -> OperatorAction {
    match action {
        OperatorAction::Release if !confirm => OperatorAction::ReleaseOwn,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_actions_are_read() {
        let both = states(Some("failed, held")).unwrap();
        assert_eq!(both.states(), Some(vec![MessageState::Held, MessageState::Failed]));
        assert!(states(None).unwrap().is_all() && states(Some("")).unwrap().is_all());
        assert!(states(Some("lost")).unwrap_err().0.contains("`lost`"));
        assert_eq!(
            action("resend"),
            Err(QueryError("`resend` is no action: retry, hold, release or delete".into()))
        );
    }
}
