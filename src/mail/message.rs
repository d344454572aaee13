//! An accepted message as the queue keeps it: envelope, recipients with their states, and what is known of its
//! content. The content itself is read in chunks from the queue.

use super::address::{Address, ReversePath};
use super::id::QueueId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What became of a message as a whole (rule 13).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// No attempt yet.
    Queued,
    /// Attempted, and some recipient is still open.
    Deferred,
    /// An operator holds it: it goes nowhere until released.
    Held,
    /// No recipient open, some failed or expired. It stays listed for `failed_days`, to be retried or deleted.
    Failed,
    /// Every recipient delivered.
    Sent,
}

/// What became of one recipient.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    /// Not decided yet.
    Pending,
    /// Attempted, to be tried again.
    Deferred,
    /// Open, but held with its message.
    Held,
    /// An upstream took it.
    Delivered,
    /// An upstream refused it for good.
    Failed,
    /// It was deferred for longer than `expire_after`.
    Expired,
}

impl RecipientState {
    /// Whether an attempt still has to decide.
    pub fn is_open(self) -> bool {
        matches!(self, RecipientState::Pending | RecipientState::Deferred | RecipientState::Held)
    }
}

/// One recipient of the envelope and its own outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    /// The forward-path as the client wrote it (completed where it had no domain, see `default_domain` and `[aliases]`).
    pub address: Address,
    /// What became of it.
    pub state: RecipientState,
    /// What the last upstream said of it, on one printable line.
    pub reply: Option<String>,
    /// The upstream that took it, or that was asked last.
    pub upstream: Option<String>,
    /// Upstreams that said for good that they cannot take it, for reasons that speak of the account or the server and
    /// not of the mail: they are not asked again, and when every candidate is in here the recipient has failed.
    pub refused_by: Vec<Refusal>,
}

/// An upstream's refusal that speaks of the account or the server. It holds as long as the upstream is set up as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Name of the upstream.
    pub upstream: String,
    /// The revision of its settings when it refused. Means nothing to another process: after a restart all are asked anew.
    pub revision: u64,
}

/// Who goes first when mail waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A person waits for it: a password reset.
    Urgent,
    /// What says nothing about itself.
    #[default]
    Normal,
    /// Newsletters and lists.
    Bulk,
}

impl Recipient {
    /// A recipient that no attempt has touched.
    pub fn pending(address: Address) -> Recipient {
        Recipient {
            address,
            state: RecipientState::Pending,
            reply: None,
            upstream: None,
            refused_by: Vec::new(),
        }
    }
}

/// The BODY parameter of MAIL (RFC 6152).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BodyType {
    /// Nothing was said, or BODY=7BIT.
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
}

/// What the front door learned of the header while the content went by, so that relaying need not parse it again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HeaderFacts {
    /// The content starts with a header field or with the empty line that ends an empty header.
    pub starts_well: bool,
    /// There is a `Date:` field.
    pub has_date: bool,
    /// There is a `Message-ID:` field.
    pub has_message_id: bool,
    /// There is a `From:` field.
    pub has_from: bool,
    /// There is at least one `Bcc:` or `Resent-Bcc:` field. Nothing hangs on it on the way out, where every header is
    /// filtered: records of the first version do not know of `Resent-Bcc:`.
    pub has_bcc: bool,
    /// Some byte of the content is above 127, so BODY=8BITMIME is said where 8BITMIME is offered.
    pub has_eight_bit: bool,
    /// Number of `Received:` fields.
    pub received_hops: u32,
    /// The first `Subject:` as it stands there, unfolded, at most 998 bytes; encoded words are decoded for display only.
    pub subject: Option<String>,
}

/// Where a message came from: shown, and written into `Received:`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the listener that took it.
    pub listener: String,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// What the client called itself in EHLO or HELO, as sent.
    pub helo: String,
    /// `SMTP`, `ESMTP`, `UTF8SMTP` … for the `with` clause (RFC 3848, RFC 6531).
    pub protocol: String,
}

/// An accepted message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its name.
    pub id: QueueId,
    /// As given in MAIL.
    pub reverse_path: ReversePath,
    /// In the order of RCPT, each exactly once.
    pub recipients: Vec<Recipient>,
    /// BODY of MAIL: passed on where 8BITMIME is offered.
    pub body: BodyType,
    /// SMTPUTF8 was given in MAIL (RFC 6531): passed on where it is offered, needed only by an address that is not ASCII.
    pub smtp_utf8: bool,
    /// Bytes of content as stored.
    pub size: u64,
    /// Number of chunks that the content is stored in; 0 for empty content.
    pub chunks: u32,
    /// What is known of the header.
    pub header: HeaderFacts,
    /// Where it came from.
    pub origin: Origin,
    /// The site it belongs to, decided when it was accepted; empty: none, all sites' upstreams may take it.
    pub site: String,
    /// Decided when it was accepted.
    pub class: Class,
    /// Wall clock at the end of reception.
    pub received_at: Timestamp,
    /// Milliseconds from MAIL to the end of the content.
    pub reception_ms: u64,
    /// Attempts counted so far (rule 12).
    pub attempts: u32,
    /// How often it was deferred in this life: the step of the retry schedule that it has reached.
    pub deferrals: u32,
    /// The upstream that failed last: asked behind all available ones on a retry (rule 2).
    pub failed_upstream: Option<String>,
    /// When the next attempt is due; none while held or with no recipient open.
    pub due: Option<crate::clock::Moment>,
    /// Start of the present life: expiry is counted from here (shifted by the time it was held).
    pub life_start: crate::clock::Moment,
    /// Since when an operator holds it.
    pub held_since: Option<crate::clock::Moment>,
}

impl Message {
    /// The state of the whole, which follows from the recipients (rule 13).
    pub fn state(&self) -> MessageState {
        let open = self.recipients.iter().any(|recipient| recipient.state.is_open());
        match (open, self.held_since) {
            (true, Some(_)) => MessageState::Held,
            (true, None) if self.attempts == 0 => MessageState::Queued,
            (true, None) => MessageState::Deferred,
            (false, _) if self.recipients.iter().all(|one| one.state == RecipientState::Delivered) => {
                MessageState::Sent
            }
            (false, _) => MessageState::Failed,
        }
    }

    /// The recipients that an attempt still has to decide, with their place in [`Message::recipients`].
    pub fn open_recipients(&self) -> impl Iterator<Item = (usize, &Recipient)> {
        self.recipients.iter().enumerate().filter(|(_, recipient)| recipient.state.is_open())
    }
}
