//! The shapes of docs/rules.md#routes, shared by the routes and by the command line that shows them.

use crate::clock::Moment;
use crate::deliver::health::Availability;
use crate::event::words;
use crate::mail::{Class, Message, MessageState, RecipientState};
use crate::queue::{Action, Filter, Page, QueueStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A message in a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageJson {
    /// Its queue id.
    pub id: String,
    /// Of the whole.
    pub state: String,
    /// Null for `<>`.
    pub reverse_path: Option<String>,
    /// In the order of RCPT.
    pub recipients: Vec<RecipientJson>,
    /// Decoded for people; empty where there is none.
    pub subject: String,
    /// Bytes of content.
    pub size: u64,
    /// Null for mail of no site.
    pub site: Option<String>,
    /// Who goes first when mail waits: `urgent`, `normal` or `bulk`.
    pub class: Class,
    /// UTC.
    pub received_at: Timestamp,
    /// Counted attempts.
    pub attempts: u32,
    /// UTC; null while held or with nothing open.
    pub next_attempt: Option<Timestamp>,
    /// Where it came from.
    pub client: Option<String>,
    /// The listener that took it.
    pub listener: String,
}

/// A recipient in a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecipientJson {
    /// The forward-path.
    pub address: String,
    /// Its own state.
    pub state: RecipientState,
    /// What the last upstream said.
    pub reply: Option<String>,
    /// The upstream that said it.
    pub upstream: Option<String>,
    /// Upstreams that are not asked again because of what they said: the others are waited for.
    pub refused_by: Vec<String>,
}

/// A page of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessagesJson {
    /// Newest first.
    pub messages: Vec<MessageJson>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

/// The query of a listing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagesQuery {
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
pub struct BulkQuery {
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

/// What a bulk action did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BulkJson {
    /// Messages that it changed.
    pub changed: usize,
    /// Messages that there was nothing to do about.
    pub unchanged: usize,
    /// Ids that no message has.
    pub not_found: Vec<String>,
}

/// An upstream in a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpstreamJson {
    /// Its name in the configuration.
    pub name: String,
    /// `default`, `high`, `normal` or `low`.
    pub priority: String,
    /// Disabled ones get nothing.
    pub enabled: bool,
    /// Whether it may be given mail now.
    pub state: Availability,
    /// Connections in use.
    pub in_flight: usize,
    /// Connections at a time, as configured.
    pub connection_limit: usize,
    /// Connections at a time that the server is known to allow: as configured, or fewer for a while.
    pub effective_limit: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// UTC; when it did.
    pub last_error_at: Option<Timestamp>,
}

/// The queue at a glance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatsJson {
    /// Messages by state.
    pub queued: u64,
    /// See [`MessageState`].
    pub deferred: u64,
    /// See [`MessageState`].
    pub held: u64,
    /// See [`MessageState`].
    pub failed: u64,
    /// Records set aside because they are damaged.
    pub damaged: u64,
    /// Messages that an attempt is under way for.
    pub in_flight: u64,
    /// The queue can be written.
    pub writable: bool,
}

impl MessageJson {
    /// As a listing shows it. `wall` turns the due time into wall time.
    pub fn of(message: &Message, wall: impl Fn(Moment) -> Timestamp) -> MessageJson {
        let recipients = message
            .recipients
            .iter()
            .map(|recipient| RecipientJson {
                address: recipient.address.to_string(),
                state: match (recipient.state.is_open(), message.held_since) {
                    (true, Some(_)) => RecipientState::Held,
                    _ => recipient.state,
                },
                reply: recipient.reply.clone(),
                upstream: recipient.upstream.clone(),
                refused_by: recipient.refused_by.iter().map(|one| one.upstream.clone()).collect(),
            })
            .collect();
        MessageJson {
            id: message.id.to_string(),
            state: state_word(message.state()).to_owned(),
            reverse_path: message.reverse_path.address().map(ToString::to_string),
            recipients,
            subject: words::decode_words(message.header.subject.as_deref().unwrap_or_default()),
            size: message.size,
            site: Some(message.site.clone()).filter(|site| !site.is_empty()),
            class: message.class,
            received_at: message.received_at,
            attempts: message.attempts,
            next_attempt: message.due.map(wall),
            client: message.origin.client.map(|client| client.to_string()),
            listener: message.origin.listener.clone(),
        }
    }
}

impl MessagesJson {
    /// A page as it is answered. Damaged records are in it, in a state of their own.
    pub fn of(page: &Page, wall: impl Fn(Moment) -> Timestamp) -> MessagesJson {
        let damaged = page.damaged.iter().map(|(id, what)| MessageJson {
            id: id.to_string(),
            state: "damaged".into(),
            reverse_path: None,
            recipients: Vec::new(),
            subject: what.clone(),
            size: 0,
            site: None,
            class: Class::default(),
            received_at: Timestamp::from_millisecond(i64::try_from(id.unix_ms()).unwrap_or(0))
                .unwrap_or_default(),
            attempts: 0,
            next_attempt: None,
            client: None,
            listener: String::new(),
        });
        let messages =
            page.messages.iter().map(|message| MessageJson::of(message, &wall)).chain(damaged).collect();
        MessagesJson { messages, next_cursor: page.next.map(|id| id.to_string()) }
    }
}

impl From<QueueStatus> for StatsJson {
    fn from(health: QueueStatus) -> StatsJson {
        StatsJson {
            queued: health.queued,
            deferred: health.deferred,
            held: health.held,
            failed: health.failed,
            damaged: health.damaged,
            in_flight: health.claimed,
            writable: health.writable,
        }
    }
}

/// What is wrong with a query, in words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct QueryError(pub String);

/// The filter that `state` and `q` mean.
pub fn filter(state: Option<&str>, q: Option<&str>) -> Result<Filter, QueryError> {
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
pub fn expression(text: &str) -> (Option<String>, Option<String>) {
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
pub fn action(word: &str) -> Result<Action, QueryError> {
    match word {
        "retry" => Ok(Action::Retry),
        "hold" => Ok(Action::Hold),
        "release" => Ok(Action::Release),
        "delete" => Ok(Action::Delete),
        _ => Err(QueryError(format!("`{word}` is no action: retry, hold, release or delete"))),
    }
}

/// The state as listings spell it.
pub fn state_word(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Deferred => "deferred",
        MessageState::Held => "held",
        MessageState::Failed => "failed",
        MessageState::Sent => "sent",
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
