//! What the routes are asked, read from its words: which messages, and what to do with them.

use super::json::state_word;
use crate::event::{EventFilter, EventType};
use crate::mail::id::NotAQueueId;
use crate::mail::{MessageState, QueueId};
use crate::queue::{Filter, OperatorAction, parse_time};
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A part of a path: a message.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct MessageId {
    /// Its queue id.
    #[param(pattern = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$", example = "01ARZ3NDEKTSV4RRFFQ69G5FAV")]
    pub id: String,
}

/// A part of a path: an upstream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct UpstreamName {
    /// Its name in the configuration.
    #[param(example = "primary")]
    pub name: String,
}

/// The query of a listing of the queue.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MessagesQuery {
    /// One state or several with commas between them: `queued`, `deferred`, `held`, `failed`, `sent`. Without it all but sent.
    #[param(
        pattern = "^(|(queued|deferred|held|failed|sent)(,(queued|deferred|held|failed|sent))*)$",
        example = "failed,held"
    )]
    pub state: Option<String>,
    /// In the filter language (docs/rules.md#filters).
    #[param(example = "to:@example.com older:2d")]
    pub q: Option<String>,
    /// At most that many on a page: 100 unless it is given, and never more than 1,000.
    #[param(minimum = 1)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The query of a listing of sent mail.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SentQuery {
    /// In the filter language (docs/rules.md#filters).
    #[param(example = "to:@example.com older:2d")]
    pub q: Option<String>,
    /// At most that many on a page: 100 unless it is given, and never more than 1,000.
    #[param(minimum = 1)]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What `POST /api/v1/messages/bulk` takes: ids, or all that a filter means.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "action": "retry", "filter": "state:failed to:@example.com", "dry_run": true }))]
pub(crate) struct BulkQuery {
    /// `retry`, `hold`, `release` or `delete`.
    #[schema(pattern = "^(retry|hold|release|delete)$")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountedQuery {
    pub matching: u64,
    #[serde(default)]
    pub held_by_mode: u64,
}

/// What `POST /api/v1/messages/{id}/release` and `resend` take; `retry` and `hold` take it, too, and need nothing of it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
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
const PAGE: usize = 100;
/// And at most.
pub(super) const LARGEST_PAGE: usize = 1_000;

/// How many messages a page has.
pub(super) fn page(limit: Option<usize>, largest: usize) -> Result<usize, QueryError> {
    match limit.unwrap_or(PAGE) {
        0 => Err(QueryError(format!("`limit` is 0: ask for 1 to {largest}"))),
        limit => Ok(limit.min(largest)),
    }
}

/// A queue id as somebody wrote it.
pub(crate) fn id(text: &str) -> Result<QueueId, QueryError> {
    text.parse().map_err(|error: NotAQueueId| QueryError(error.to_string()))
}

/// Words with commas between them.
fn words(given: Option<&str>) -> impl Iterator<Item = &str> {
    given.unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Whether `state` names mail that has left the queue.
pub(super) fn names_sent(state: Option<&str>) -> bool {
    words(state).any(|word| word == state_word(MessageState::Sent))
}

/// What `state` means: one state or several with commas between them.
pub(crate) fn states(state: Option<&str>) -> Result<Filter, QueryError> {
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
    Ok(Filter::of_states(words(state).map(find).collect::<Result<_, _>>()?))
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
    let find = |word: &str| {
        let known = [EventType::Information, EventType::Warning, EventType::Error];
        let found = known.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(word));
        found.ok_or_else(|| QueryError(format!("`{word}` is no type: Information, Warning or Error")))
    };
    Ok(EventFilter {
        types: words(types).map(find).collect::<Result<_, _>>()?,
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
