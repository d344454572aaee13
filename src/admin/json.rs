//! What the routes of docs/rules.md#routes answer, as types: the routes write them, the command line reads them.

use super::state::ChangeResult;
use crate::clock::Moment;
use crate::config::settings::{Priority, Upstream};
use crate::config::{ChangedKey, InForce, NewValues};
use crate::deliver::health::Availability;
use crate::deliver::waits_for::WaitsFor;
use crate::event::{encoded_words, named_site};
use crate::mail::attempt::TlsFacts;
use crate::mail::{Class, HoldReason, Message, MessageState, Mode, RecipientState, Role};
use crate::metrics::Totals;
use crate::queue::{Page, QueueStatus, SentMessage, SentPage, archive};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use utoipa::ToSchema;

/// A message in a listing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct MessageJson {
    pub id: String,
    /// Of the message as a whole.
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
    pub attempts: u32,
    /// Why it is held: `operator`, `mode_ended`, `nobody_to_report_to`, `site_gone`.
    #[serde(default)]
    pub held_because: Vec<HoldReason>,
    /// UTC; null while held or with nothing open.
    pub next_attempt: Option<Timestamp>,
    /// Of one message: the upstream that it is being sent to at this moment. What is held or deleted now may leave all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<String>,
    /// Of one message that is due and does not leave: what keeps each upstream that may take it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<WaitsFor>,
    /// UTC; when its last recipient was delivered, for sent mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// Where its content is, for one sent message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<ArchivedJson>,
    /// Where it came from.
    pub client: Option<String>,
    /// The listener that took it.
    pub listener: String,
    /// Who the client authenticated as, if it did.
    pub user: Option<String>,
}

/// A recipient in a listing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct RecipientJson {
    pub address: String,
    /// `original`, or `report_copy` for a report address that gets the mail in place of others.
    #[serde(default)]
    pub role: Role,
    /// The mode that decided its state: `redirect`, `debug` or `simulate`; null where an upstream was asked for this address.
    #[serde(default)]
    pub mode: Option<Mode>,
    pub state: RecipientState,
    /// What the last upstream said.
    pub reply: Option<String>,
    /// The upstream that said it.
    pub upstream: Option<String>,
    /// Upstreams that refused this recipient for good; it waits for the others.
    pub refused_by: Vec<String>,
}

impl RecipientJson {
    /// Whether the message was accepted for it.
    pub(crate) fn is_original(&self) -> bool {
        self.role == Role::Original
    }
}

/// The file of a sent message.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct ArchivedJson {
    /// Under `data_dir`.
    pub file: String,
    /// Why it cannot be read; null where it can.
    pub wrong: Option<String>,
}

impl ArchivedJson {
    pub(crate) fn of(sent: &SentMessage, wrong: Option<String>) -> ArchivedJson {
        let file = archive::file(Path::new("archive"), sent.sent_at, sent.message.id);
        ArchivedJson { file: file.display().to_string(), wrong }
    }
}

/// A page of messages.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct MessagesJson {
    /// Newest first.
    pub messages: Vec<MessageJson>,
    /// Where the next page begins; null at the end.
    pub next_cursor: Option<String>,
}

/// What a bulk action did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct BulkJson {
    /// Messages that are meant, as far as they have been found.
    pub matching: u64,
    /// Messages that it changed.
    pub changed: u64,
    /// Those of them that were being sent to an upstream when they were held or deleted: they may leave all the same.
    #[serde(default)]
    pub under_way: u64,
    /// Messages that there was nothing to do about, or that the filter did not mean any more.
    pub unchanged: u64,
    /// Messages that a mode holds. Without `confirm` they are not released.
    pub held_by_mode: u64,
    /// Ids that no message has.
    pub not_found: Vec<String>,
    /// The newest message that can be meant; null in an empty queue, or with `ids`.
    pub until: Option<String>,
    /// UTC; what ages in the filter count from. Null with `ids`.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// An upstream in a listing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct UpstreamJson {
    /// Its name in the configuration.
    pub name: String,
    /// `default`, `high`, `normal` or `low`.
    pub priority: String,
    /// Disabled ones get nothing.
    pub enabled: bool,
    /// By a verb or a page: it is in no file but `admin.toml`.
    #[serde(default)]
    pub added: bool,
    /// Keys that a verb or a page gave, sorted.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Whether it may be given mail now: one of the words of docs/rules.md#states-of-an-upstream.
    pub state: String,
    pub in_flight: usize,
    /// Connections at a time, as configured.
    pub connection_limit: usize,
    /// Connections at a time that the server is known to allow: as configured, or fewer for a while.
    pub effective_limit: usize,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// UTC; when it did.
    pub last_error_at: Option<Timestamp>,
    /// Where it was an SMTP reply: its code.
    #[serde(default)]
    pub last_error_code: Option<u16>,
    /// Its enhanced code, as `5.7.8`.
    #[serde(default)]
    pub last_error_enhanced: Option<String>,
    /// UTC; when it took a message last. Null before the first since the start, or since it was changed.
    #[serde(default)]
    pub last_success_at: Option<Timestamp>,
    /// Milliseconds that it needed for that message: from MAIL, or from connecting where a connection was opened for it, to the
    /// reply to the final dot.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// What to change, where the provider behind it is known to mean something by what it said.
    #[serde(default)]
    pub remedy: Option<String>,
    /// UTC; when `rate_limit` lets another message go. Null while it does.
    pub rate_limit_free_at: Option<Timestamp>,
    /// UTC; when an open circuit lets a message probe. Null while it is closed.
    #[serde(default)]
    pub probe_at: Option<Timestamp>,
    /// UTC; when the OAuth 2 token expires. Null where there is none.
    pub token_expires_at: Option<Timestamp>,
    /// Why there is no OAuth 2 token.
    pub token_error: Option<String>,
    /// Of the connection that was opened last; null without TLS, and before the first.
    pub tls: Option<TlsFacts>,
}

impl UpstreamJson {
    /// One of which nobody knows how it fares: no proxy runs.
    pub(crate) fn as_configured(upstream: &Upstream, in_force: &InForce) -> UpstreamJson {
        let given = in_force.given(&["upstream", &upstream.name]).into_iter();
        UpstreamJson {
            name: upstream.name.clone(),
            priority: match upstream.priority {
                Priority::Default => "default",
                Priority::High => "high",
                Priority::Normal => "normal",
                Priority::Low => "low",
            }
            .to_owned(),
            enabled: upstream.enabled,
            added: in_force.is_added(&upstream.name),
            changed: given.filter(|(_, given)| given.is_change()).map(|(key, _)| key).collect(),
            state: if upstream.enabled { "unknown".to_owned() } else { Availability::Disabled.to_string() },
            in_flight: 0,
            connection_limit: upstream.connection_limit,
            effective_limit: upstream.connection_limit,
            last_error: None,
            last_error_at: None,
            last_error_code: None,
            last_error_enhanced: None,
            last_success_at: None,
            latency_ms: None,
            remedy: None,
            rate_limit_free_at: None,
            probe_at: None,
            token_expires_at: None,
            token_error: None,
            tls: None,
        }
    }
}

/// An upstream as it is configured, and how it fares.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct UpstreamDetailJson {
    #[serde(flatten)]
    pub status: UpstreamJson,
    /// Every key with its value, secrets masked.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub settings: NewValues,
    /// Of each key that is no default: layer and place, and for one in `admin.toml` what would hold without it.
    pub sources: BTreeMap<String, serde_json::Value>,
    /// What the request has changed.
    #[serde(flatten)]
    pub done: ChangedJson,
}

/// What verbs and pages may change, but for upstreams.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SettingsJson {
    /// Every key with its value; of sites those that they say themselves.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub values: NewValues,
    /// As [`UpstreamDetailJson::sources`].
    pub sources: BTreeMap<String, serde_json::Value>,
    /// What the request has changed.
    #[serde(flatten)]
    pub done: ChangedJson,
}

/// What a request has changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ChangedJson {
    /// Each key, or an upstream that came or went. Empty: it was so already.
    pub changes: Vec<ChangedKey>,
    /// Messages that go on as they were begun before, in words (rule 6).
    #[serde(default)]
    pub under_way: Vec<String>,
    /// What `check` warns of because of it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl From<ChangeResult> for ChangedJson {
    fn from(ChangeResult { changes, under_way, warnings }: ChangeResult) -> ChangedJson {
        ChangedJson { changes, under_way, warnings }
    }
}

/// The process lives.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AliveJson {
    /// `alive`.
    pub status: String,
    /// Of Postroom.
    pub version: String,
    /// The process id.
    pub pid: u32,
}

/// The proxy is ready. To whom may not read, the first word is all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReadyJson {
    /// `ready`.
    pub status: String,
    /// A sentence for each mode that is in force.
    pub modes: Vec<String>,
    /// By the name of the pickup, what keeps it from being emptied.
    pub pickups: BTreeMap<String, String>,
    /// How upstreams fare.
    pub upstreams: Vec<UpstreamStateJson>,
    /// By the name of the webhook, why its receiver has not had all.
    pub webhooks: BTreeMap<String, String>,
}

/// How an upstream fares.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct UpstreamStateJson {
    pub name: String,
    /// As [`UpstreamJson::state`].
    pub state: String,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// A new configuration is in force.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReloadedJson {
    /// `reloaded`.
    pub status: String,
    /// What changed, in words.
    pub changes: Vec<String>,
}

/// Figures of the queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct StatsJson {
    /// Messages in this state, as [`MessageState::Queued`].
    pub queued: u64,
    /// As [`MessageState::Deferred`].
    pub deferred: u64,
    /// As [`MessageState::Held`].
    pub held: u64,
    /// As [`MessageState::Failed`].
    pub failed: u64,
    /// Records set aside because they are damaged.
    pub damaged: u64,
    /// Messages that an attempt is under way for.
    pub in_flight: u64,
    /// The queue can be written.
    pub writable: bool,
    /// UTC; when the message was received that has been queued longest. Null where none is.
    #[serde(default)]
    pub oldest_queued: Option<Timestamp>,
    /// The same of deferred mail.
    #[serde(default)]
    pub oldest_deferred: Option<Timestamp>,
    /// What came and went since the process started.
    #[serde(default)]
    pub since_start: TotalsJson,
    /// The same of each upstream, and how it fares.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatsJson>,
}

/// What came and went since the process started. Recipients count each time an attempt decides about them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct TotalsJson {
    /// Messages; zero of an upstream.
    pub accepted: u64,
    /// Recipients.
    pub delivered: u64,
    /// Recipients.
    pub deferred: u64,
    /// Recipients.
    pub failed: u64,
    /// Recipients.
    pub expired: u64,
}

impl From<Totals> for TotalsJson {
    fn from(Totals { accepted, delivered, deferred, failed, expired }: Totals) -> TotalsJson {
        TotalsJson { accepted, delivered, deferred, failed, expired }
    }
}

/// Figures of an upstream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct UpstreamStatsJson {
    pub name: String,
    /// As [`UpstreamJson::state`].
    pub state: String,
    /// Connections in use.
    pub in_flight: usize,
    pub since_start: TotalsJson,
}

impl MessageJson {
    /// As a listing shows it. `wall` turns a moment of a site into wall time.
    pub(crate) fn of(message: &Message, wall: impl Fn(&str, Moment) -> Timestamp) -> MessageJson {
        let recipients = message
            .recipients
            .iter()
            .map(|recipient| RecipientJson {
                address: recipient.address.to_string(),
                role: recipient.role,
                mode: recipient.mode,
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
            subject: encoded_words::decode_words(message.header.subject.as_deref().unwrap_or_default()),
            size: message.size,
            site: named_site(&message.site),
            class: message.class,
            received_at: message.received_at,
            attempts: message.attempts,
            held_because: message.hold.iter().copied().collect(),
            next_attempt: message.due.map(|due| wall(&message.site, due)),
            under_way: None,
            waits_for: Vec::new(),
            sent_at: None,
            archived: None,
            client: message.origin.client.map(|client| client.to_string()),
            listener: message.origin.listener.clone(),
            user: message.origin.user.clone(),
        }
    }
}

impl MessageJson {
    /// A sent message. What is deferred has a time; what is sent has none to come.
    pub(crate) fn of_sent(sent: &SentMessage) -> MessageJson {
        let wall = |_: &str, _| sent.sent_at;
        MessageJson { sent_at: Some(sent.sent_at), ..MessageJson::of(&sent.message, wall) }
    }
}

impl MessagesJson {
    /// A page of sent messages as it is answered.
    pub(crate) fn of_sent(page: &SentPage) -> MessagesJson {
        let messages = page.messages.iter().map(MessageJson::of_sent).collect();
        MessagesJson { messages, next_cursor: page.next.map(|id| id.to_string()) }
    }

    /// This page of the queue and one of sent mail, from the same cursor on, as one page.
    pub(crate) fn merged(self, sent: MessagesJson, limit: usize) -> MessagesJson {
        // Behind the first of the two ends only one of them says what there is.
        let end = self.next_cursor.max(sent.next_cursor);
        let mut messages = [self.messages, sent.messages].concat();
        messages.sort_unstable_by(|one, other| other.id.cmp(&one.id));
        let is_before_end = |message: &MessageJson| end.as_ref().is_none_or(|end| message.id > *end);
        let certain = messages.partition_point(is_before_end);
        let cut =
            messages.get(limit.min(certain)).filter(|_| limit < certain).map(|message| message.id.clone());
        messages.truncate(limit.min(certain));
        MessagesJson { messages, next_cursor: cut.or(end) }
    }

    /// A page as it is answered. Damaged records are in it, in a state of their own.
    pub(crate) fn of(page: &Page, wall: impl Fn(&str, Moment) -> Timestamp) -> MessagesJson {
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
            held_because: Vec::new(),
            next_attempt: None,
            under_way: None,
            waits_for: Vec::new(),
            sent_at: None,
            archived: None,
            client: None,
            listener: String::new(),
            user: None,
        });
        let messages =
            page.messages.iter().map(|message| MessageJson::of(message, &wall)).chain(damaged).collect();
        MessagesJson { messages, next_cursor: page.next.map(|id| id.to_string()) }
    }
}

impl From<QueueStatus> for StatsJson {
    fn from(status: QueueStatus) -> StatsJson {
        StatsJson {
            queued: status.queued,
            deferred: status.deferred,
            held: status.held,
            failed: status.failed,
            damaged: status.damaged,
            in_flight: status.claimed,
            writable: status.writable,
            oldest_queued: None,
            oldest_deferred: None,
            since_start: TotalsJson::default(),
            upstreams: Vec::new(),
        }
    }
}

/// The state as listings spell it.
pub(crate) fn state_word(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Deferred => "deferred",
        MessageState::Held => "held",
        MessageState::Failed => "failed",
        MessageState::Sent => "sent",
    }
}
