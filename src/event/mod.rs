//! Events: recorded facts, kept in the queue file and shown to users (docs/rules.md#events), and logemails.log. The log on
//! standard error ([`crate::log`]) is for diagnosis and has nothing to do with it.

pub mod certificate_notices;
pub mod encoded_words;
mod filter;
pub mod header_fields;
pub mod logemails;
pub mod outcome;

pub use filter::EventFilter;

use crate::config::Topic;
use crate::mail::QueueId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much an event matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub enum EventType {
    Information,
    /// An operator may want to look at it.
    Warning,
    Error,
}

impl EventType {
    /// For counting.
    pub fn word(self) -> &'static str {
        match self {
            EventType::Information => "information",
            EventType::Warning => "warning",
            EventType::Error => "error",
        }
    }
}

/// What happened, before the event log numbers it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    /// Wall clock.
    pub time: Timestamp,
    /// How much it matters.
    #[schema(rename = "type")]
    pub kind: EventType,
    /// Which part recorded it: `Mail`, `Queue`, `Upstream`, `Listener`, `Pickup`, `Configuration`, `Webhook`, `Service`.
    pub source: String,
    /// The recipient's address for facts about a recipient, else one of [`code`]'s words.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The message it is about.
    #[schema(value_type = Option<String>)]
    pub queue_id: Option<QueueId>,
    /// The recipient it is about.
    pub recipient: Option<String>,
    /// The upstream it is about.
    pub upstream: Option<String>,
    /// The site it belongs to.
    pub site: Option<String>,
    pub reply: Option<String>,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// What webhooks know it as; none: they are not told. Not stored, because they follow events as they come.
    #[serde(skip)]
    pub topic: Option<Topic>,
}

impl Fact {
    /// A fact with the fields that every one has, and no others.
    pub fn new(
        time: Timestamp,
        kind: EventType,
        source: &str,
        code: &str,
        message: impl Into<String>,
    ) -> Fact {
        Fact {
            time,
            kind,
            source: source.to_owned(),
            code: code.to_owned(),
            message: message.into(),
            queue_id: None,
            recipient: None,
            upstream: None,
            site: None,
            reply: None,
            duration_ms: None,
            topic: None,
        }
    }

    /// The same, for webhooks that want to be told of this.
    pub fn on(self, topic: Topic) -> Fact {
        Fact { topic: Some(topic), ..self }
    }
}

/// A fact with its number in the event log. Serialized, it is exactly an event of docs/rules.md#events.
#[derive(Clone, PartialEq, Eq, Debug, ToSchema)]
pub struct Event {
    /// Counts up by one, never reused.
    pub id: u64,
    #[schema(inline)]
    #[serde(flatten)]
    pub fact: Fact,
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let Event { id, fact } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", id)?;
        map.serialize_entry("time", &fact.time)?;
        map.serialize_entry("type", &fact.kind)?;
        map.serialize_entry("source", &fact.source)?;
        map.serialize_entry("code", &fact.code)?;
        map.serialize_entry("message", &fact.message)?;
        if let Some(queue_id) = &fact.queue_id {
            map.serialize_entry("queue_id", queue_id)?;
        }
        let texts = [
            ("recipient", &fact.recipient),
            ("upstream", &fact.upstream),
            ("site", &fact.site),
            ("reply", &fact.reply),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        if let Some(duration) = &fact.duration_ms {
            map.serialize_entry("duration_ms", duration)?;
        }
        map.end()
    }
}

/// The site of an event, by that of a message or of a setting: none where that is empty, as it is for mail of no site.
pub fn named_site(site: &str) -> Option<String> {
    Some(site.to_owned()).filter(|site| !site.is_empty())
}

/// The upper-case words of docs/rules.md#events: codes of facts that are about no single recipient. docs/operating.md says
/// what to do about each.
pub mod code {
    /// An OAuth 2 token could not be had, or can be had again.
    pub const TOKEN: &str = "TOKEN";
    /// A message was accepted.
    pub const QUEUED: &str = "QUEUED";
    /// A message was deferred.
    pub const DEFERRED: &str = "DEFERRED";
    /// A notice about a message was queued: to whom, and about how many recipients.
    pub const BOUNCED: &str = "BOUNCED";
    /// An upstream's circuit opened: it is not asked for a while.
    pub const CIRCUIT_OPEN: &str = "CIRCUIT_OPEN";
    /// An upstream works again.
    pub const CIRCUIT_CLOSED: &str = "CIRCUIT_CLOSED";
    /// A verb or a page changed the configuration, or such a change does not hold any more.
    pub const CHANGED: &str = "CHANGED";
    /// A new configuration is in force.
    pub const RELOADED: &str = "RELOADED";
    /// A new configuration was refused.
    pub const RELOAD_FAILED: &str = "RELOAD_FAILED";
    /// A message is held: by an operator, or because of a mode or its site.
    pub const HELD: &str = "HELD";
    /// A message is not held any more.
    pub const RELEASED: &str = "RELEASED";
    /// An operator deleted a message, or `failed_days` did.
    pub const DELETED: &str = "DELETED";
    /// A message was tried for longer than `expire_after`.
    pub const EXPIRED: &str = "EXPIRED";
    /// The disk is fuller than `min_free_space` allows.
    pub const LOW_DISK: &str = "LOW_DISK";
    /// Sending, redirect, debug, simulate or sender was switched, or a mode is in force at the start.
    pub const MODE: &str = "MODE";
    /// A webhook cannot be told, or can be again.
    pub const WEBHOOK: &str = "WEBHOOK";
    /// A certificate of a listener or an upstream ends within two weeks, or has ended.
    pub const CERTIFICATE: &str = "CERTIFICATE";
    /// An upstream was tested for an operator: what came of it.
    pub const TESTED: &str = "TESTED";
    /// The proxy started.
    pub const STARTED: &str = "STARTED";
    /// The proxy stopped.
    pub const STOPPED: &str = "STOPPED";
    /// An inbound client was refused: those of one client within a minute are one event.
    pub const REFUSED: &str = "REFUSED";
    /// The queue could not be written or read.
    pub const STORAGE: &str = "STORAGE";
    /// A record in the queue is damaged and was set aside.
    pub const DAMAGED: &str = "DAMAGED";
}
