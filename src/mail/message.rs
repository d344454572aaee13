//! An accepted message as the queue keeps it: envelope, recipients with their states, and what is known of its
//! content. The content itself is read in chunks from the queue.

use super::address::{Address, ReversePath};
use super::id::QueueId;
use crate::clock::Moment;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use utoipa::ToSchema;

/// What became of a message as a whole (rule 13).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    Queued,
    /// Attempted, and some recipient is still open.
    Deferred,
    /// It goes nowhere until every [`HoldReason`] is lifted.
    Held,
    /// No recipient open, some failed or expired. It stays listed for `failed_days`, to be retried or deleted.
    Failed,
    Sent,
}

/// What became of one recipient.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    Pending,
    /// Attempted, to be tried again.
    Deferred,
    /// Open, but held with its message.
    Held,
    /// An upstream took it, or debug or redirect counts it as delivered.
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

/// Why a recipient belongs to a message. An address may stand there once in each role.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The application gave it in RCPT.
    #[default]
    Original,
    /// A report address that a redirected copy goes to (rule 6).
    ReportCopy,
}

/// A setting under which mail does not go where it is addressed (rule 6). Sending off is none of them: mail only waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every send fails, nothing leaves.
    Simulate,
    /// Logged only, nothing leaves.
    Debug,
    /// A copy goes to the report addresses instead.
    Redirect,
}

impl Mode {
    /// Its name, as in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Simulate => "simulate",
            Mode::Debug => "debug",
            Mode::Redirect => "redirect",
        }
    }
}

/// Why a message is held. The reasons are kept apart, because each is lifted by something else (rule 6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// An operator said so.
    Operator,
    /// A mode has applied to it and none does any more: it must not reach its addressees by itself.
    ModeEnded,
    /// Redirect is on and no report address is enabled.
    NobodyToReportTo,
    /// Its site is not configured any more.
    SiteGone,
}

/// One recipient of the envelope and its own outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recipient {
    /// Why it is there.
    pub role: Role,
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
    /// The mode under which its present state was decided; none where an upstream was asked for this very address.
    pub mode: Option<Mode>,
    /// What the client asked to be told of it.
    pub notify: Notify,
    /// ORCPT, see [`super::dsn::original_recipient`].
    pub original_recipient: Option<String>,
    /// The sender was told that it failed (rule 9).
    pub failure_told: bool,
}

/// NOTIFY of RCPT (RFC 3461 section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Notify {
    /// Nothing was said: failures, and delays where the server likes.
    #[default]
    Unsaid,
    Never,
    /// Of these and no others.
    Of {
        success: bool,
        failure: bool,
        delay: bool,
    },
}

impl Notify {
    /// What two RCPTs of one recipient ask for together: each thing that one of them asks for.
    pub fn and(self, other: Notify) -> Notify {
        let asked = |one: Notify| match one {
            Notify::Unsaid => (false, true, false),
            Notify::Never => (false, false, false),
            Notify::Of { success, failure, delay } => (success, failure, delay),
        };
        match (self, other) {
            (one, another) if one == another => one,
            (Notify::Never, one) | (one, Notify::Never) => one,
            (one, another) => {
                let (one, another) = (asked(one), asked(another));
                Notify::Of {
                    success: one.0 || another.0,
                    failure: one.1 || another.1,
                    delay: one.2 || another.2,
                }
            }
        }
    }
}

/// RET of MAIL (RFC 3461 section 4.3): how much of the message a failure notice returns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Return {
    Full,
    Headers,
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
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A person waits for it: a password reset.
    Urgent,
    /// What says nothing about itself.
    #[default]
    Normal,
    Bulk,
}

impl Recipient {
    /// A recipient that no attempt has touched.
    pub fn pending(address: Address) -> Recipient {
        Recipient {
            role: Role::Original,
            address,
            state: RecipientState::Pending,
            reply: None,
            upstream: None,
            refused_by: Vec::new(),
            mode: None,
            notify: Notify::Unsaid,
            original_recipient: None,
            failure_told: false,
        }
    }

    /// The upstream and reply of an earlier refusal: it tells an operator more than that the other upstreams were not
    /// available.
    pub fn previous_refusal(&self) -> Option<(Option<String>, String)> {
        let reply = self.reply.clone().filter(|_| !self.refused_by.is_empty())?;
        Some((self.upstream.clone(), reply))
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

/// What reception learned of the header while it read the content, so that relaying need not parse it again.
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
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the listener that took it.
    pub listener: String,
    pub client: Option<IpAddr>,
    /// Name of the user that the client authenticated as.
    pub user: Option<String>,
    /// What the client called itself in EHLO or HELO, as sent.
    pub helo: String,
    /// `SMTP`, `ESMTP`, `UTF8SMTP` … for the `with` clause (RFC 3848, RFC 6531).
    pub protocol: String,
}

/// An accepted message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
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
    /// The site it belongs to, decided when it was accepted; empty: no site, only global upstreams take it.
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
    pub due: Option<Moment>,
    /// Start of the present life: expiry is counted from here (shifted by the time it was held).
    pub life_start: Moment,
    /// Since when it is held; none where nothing holds it.
    pub held_since: Option<Moment>,
    /// What holds it.
    pub hold: BTreeSet<HoldReason>,
    /// It was accepted, held or attempted under a mode, and no operator has released it since: it never goes to its
    /// addressees by itself (rule 6).
    pub under_mode: bool,
    /// Since when its life does not count, because debug or simulate applies to it.
    pub life_stopped: Option<Moment>,
    /// One of our own notices (rule 9): its sender is never rewritten, and it never causes another notice.
    pub is_notice: bool,
    pub returns: Option<Return>,
    /// ENVID of MAIL as the client wrote it (RFC 3461 section 4.4).
    pub envelope_id: Option<String>,
    /// The sender was told that it is late.
    pub delay_told: bool,
    /// It is a notice that says nothing but that this message is late.
    pub says_late: Option<QueueId>,
}

impl Message {
    /// A message without recipients and content that nothing is known of yet: received at the beginning of time, by nobody.
    pub fn new(id: QueueId, reverse_path: ReversePath) -> Message {
        Message {
            id,
            reverse_path,
            recipients: Vec::new(),
            body: BodyType::SevenBit,
            smtp_utf8: false,
            size: 0,
            chunks: 0,
            header: HeaderFacts::default(),
            origin: Origin::default(),
            site: String::new(),
            class: Class::Normal,
            received_at: Timestamp::UNIX_EPOCH,
            reception_ms: 0,
            attempts: 0,
            deferrals: 0,
            failed_upstream: None,
            due: None,
            life_start: Moment(0),
            held_since: None,
            hold: BTreeSet::new(),
            under_mode: false,
            life_stopped: None,
            is_notice: false,
            returns: None,
            envelope_id: None,
            delay_told: false,
            says_late: None,
        }
    }

    /// The state of the whole, which follows from the recipients (rule 13).
    pub fn state(&self) -> MessageState {
        let open = self.recipients.iter().any(|recipient| recipient.state.is_open());
        match (open, self.held_since) {
            (true, Some(_)) => MessageState::Held,
            (true, None) if self.attempts == 0 => MessageState::Queued,
            (true, None) => MessageState::Deferred,
            (false, _) if self.originals().all(|one| one.state == RecipientState::Delivered) => {
                MessageState::Sent
            }
            (false, _) => MessageState::Failed,
        }
    }

    /// The recipients that the application gave.
    pub fn originals(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.iter().filter(|one| one.role == Role::Original)
    }

    /// The recipient with this address in this role.
    pub fn recipient(&self, role: Role, address: &Address) -> Option<&Recipient> {
        self.recipients.iter().find(|one| one.role == role && one.address == *address)
    }

    /// How much of its life it has used at a moment of its site: time held, and time while debug or simulate applies, does
    /// not count.
    pub fn age(&self, now: Moment) -> Duration {
        let until = [self.held_since, self.life_stopped].into_iter().flatten().fold(now, Moment::min);
        until.since(self.life_start)
    }

    /// Holds it for one more reason. Returns whether it is one more.
    pub fn hold_for(&mut self, reason: HoldReason, now: Moment) -> bool {
        self.held_since.get_or_insert(now);
        self.due = None;
        self.set_open(RecipientState::Held);
        self.hold.insert(reason)
    }

    /// Nothing holds it any more: it is due now, and as old as when it was held. `now` is a moment of the site that it has
    /// from here on.
    pub fn end_hold(&mut self, now: Moment) {
        // Of its own site's clock, whatever site `now` is of.
        let age = self.age(Moment(u64::MAX));
        self.life_start = Moment(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        self.life_stopped = self.life_stopped.map(|_| now);
        self.held_since = None;
        self.hold.clear();
        self.due = Some(now);
        let attempted = self.attempts > 0;
        self.set_open(if attempted { RecipientState::Deferred } else { RecipientState::Pending });
    }

    fn set_open(&mut self, state: RecipientState) {
        for recipient in self.recipients.iter_mut().filter(|recipient| recipient.state.is_open()) {
            recipient.state = state;
        }
    }

    /// Whether something else than an operator holds it: released, it goes to people whom it was kept from.
    pub fn is_held_by_mode(&self) -> bool {
        self.hold.iter().any(|reason| *reason != HoldReason::Operator)
    }

    /// The recipients that an attempt still has to decide, with their place in [`Message::recipients`].
    pub fn open_recipients(&self) -> impl Iterator<Item = (usize, &Recipient)> {
        self.recipients.iter().enumerate().filter(|(_, recipient)| recipient.state.is_open())
    }
}
