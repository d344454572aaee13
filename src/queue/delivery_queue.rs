//! The delivery queue: due messages are claimed, attempted and settled.

use super::error::Pending;
use super::mail_store::MailStore;
use super::operations::Page;
use crate::clock::Moment;
use crate::event::Fact;
use crate::mail::{Address, AttemptRecord, HoldReason, Message, Mode, QueueId, Role, Verdict};
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A message that is leased to one attempt.
#[derive(Clone, Debug)]
pub struct Claim {
    /// As stored when it was claimed.
    pub message: Arc<Message>,
    /// Identifies the lease: a settlement whose lease was given to somebody else in the meantime is fenced off.
    pub token: u64,
}

/// Mail that is claimed alike.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClaimGroup {
    /// Its site; `""`: mail of no site.
    pub site: String,
    /// Whether [`Message::under_mode`] is set.
    pub under_mode: bool,
}

/// What is claimed of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimRequest {
    pub group: ClaimGroup,
    /// Due by then, a moment of its site.
    pub due_by: Moment,
    /// At most that many.
    pub limit: usize,
}

/// What an attempt decided about one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecipientVerdict {
    /// Its role: an address may stand in a message once in each.
    pub role: Role,
    pub address: Address,
    pub verdict: Verdict,
    /// The mode that decided it; none where an upstream was asked for this address.
    pub mode: Option<Mode>,
}

/// The outcome of an attempt, to be written in one commit.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// One verdict for each recipient that was open at the claim; none where the message is held. A report copy that the
    /// message does not have yet is added.
    pub verdicts: Vec<RecipientVerdict>,
    /// Report copies that go.
    pub dropped_copies: Vec<Address>,
    /// The mode that applied to the message.
    pub mode: Option<Mode>,
    /// Why the message is held from now on.
    pub hold: Option<HoldReason>,
    /// MAIL was sent to an upstream, or a mode decided in its place: one more attempt is counted (rule 12).
    pub counted: bool,
    /// What is still open goes one step on in the retry schedule.
    pub steps_on: bool,
    /// Due time of what is still open, if anything is.
    pub next_due: Moment,
    /// The upstream that failed last, if one did.
    pub failed_upstream: Option<String>,
    /// When its content was written into the [`Archive`](super::Archive): with nothing left open and nothing failed the
    /// record stays, as one of sent mail. None: nothing of it stays.
    pub archived: Option<Timestamp>,
    /// What upstreams were asked and said: kept with the message, as long as anything of it stays.
    pub attempts: Vec<AttemptRecord>,
    /// Facts to record in the same commit.
    pub facts: Vec<Fact>,
    /// A message to be queued in the same commit.
    pub follow_up: Option<Box<FollowUp>>,
}

impl Settlement {
    /// One that changes nothing: what is open is due at that moment.
    pub fn unchanged(next_due: Moment) -> Settlement {
        Settlement {
            verdicts: Vec::new(),
            dropped_copies: Vec::new(),
            mode: None,
            hold: None,
            counted: false,
            steps_on: false,
            next_due,
            failed_upstream: None,
            archived: None,
            attempts: Vec::new(),
            facts: Vec::new(),
            follow_up: None,
        }
    }
}

/// What became of a settlement that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// All of it is on disk.
    Stored,
    /// The message was deleted meanwhile: only the facts are on disk.
    MessageGone,
}

/// Our notice about the outcome of a message (rule 9), which comes to exist with that outcome or not at all.
#[derive(Clone, Debug)]
pub struct FollowUp {
    /// It, as [`MailStore::put`] takes it.
    pub message: Message,
    /// Its last chunk. The others were staged.
    pub tail: Bytes,
    /// The original recipients that it reports as failed.
    pub failures_told: Vec<Address>,
    /// It says that the message is late.
    pub delay_told: bool,
    /// Facts to record with it.
    pub facts: Vec<Fact>,
}

/// What holds a message from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldChange {
    pub id: QueueId,
    /// What held it when this was decided.
    pub expected: BTreeSet<HoldReason>,
    /// What holds it now; with nothing it is due at once.
    pub hold: BTreeSet<HoldReason>,
    /// See [`Message::under_mode`].
    pub under_mode: bool,
    /// Facts to record in the same commit.
    pub facts: Vec<Fact>,
}

/// Hands due messages to attempts and takes their verdicts. The delivery engine uses this.
pub trait DeliveryQueue: MailStore {
    /// At most `limit` due messages of these groups, each leased to the caller for `lease`. Urgent mail goes before normal, normal before
    /// bulk; within a class first attempts go before retries and the longest due first; groups take turns. While lower
    /// priorities wait they get every tenth message. If the caller does not settle within the lease, the next claim may take
    /// the message.
    fn claim(&self, lease: Duration, requests: Vec<ClaimRequest>, limit: usize) -> Pending<'_, Vec<Claim>>;

    /// Leases due messages of these sites whose life began at least `life` ago, at most `limit`: they may expire though no
    /// upstream could be asked.
    fn claim_old(
        &self,
        sites: Vec<String>,
        life: Duration,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>>;

    /// Leases messages of these groups, due or not, whose life began at least `age` ago, at most `limit`:
    /// those whose sender asked to be told that they are late (RFC 3461 section 4.1) and was not told yet.
    fn claim_late(
        &self,
        groups: Vec<ClaimGroup>,
        age: Duration,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>>;

    /// Notes that an attempt under a mode is about to begin, as [`Message::under_mode`]: durable on return, so that a lost
    /// session or the end of the process does not make it unknown.
    fn note_mode(&self, id: QueueId) -> Pending<'_, ()>;

    /// Writes exactly one verdict for each claimed recipient, in one commit, and counts the attempt where
    /// `settlement.counted`. With nothing left open and nothing failed the message leaves the queue, see
    /// [`Settlement::archived`], and so does a notice of our own
    /// with nothing left open, whatever came of it.
    ///
    /// The follow-up is queued in that commit. Where the lease has passed to somebody else, the error is
    /// [`FencedOff`](super::QueueError::FencedOff) and nothing has changed; where the message was deleted meanwhile, nothing but the
    /// facts is written. In both cases what was staged of the follow-up is discarded. Where staged chunks of it are gone (see
    /// [`MailStore::stage`]), the error is [`StagedLost`](super::QueueError::StagedLost), nothing has changed, and the claim stands.
    fn settle(&self, claim: Claim, settlement: Settlement) -> Pending<'_, Settled>;

    /// Whether the message is as it was claimed. An operator may have held, deleted or retried it since, or its lease may have
    /// passed to somebody else; then the claim is to be given back.
    fn is_current(&self, claim: &Claim) -> bool;

    /// Whether the attempt that has this claim may begin another transaction: nothing has come to hold the message, it was not
    /// deleted, and nobody else has its lease. What was made due by an operator meanwhile goes on.
    fn may_go_on(&self, claim: &Claim) -> bool;

    /// Keeps with the message what upstreams were asked and said in an attempt that ends with [`DeliveryQueue::put_back`]. Where that
    /// cannot be written it is lost.
    fn add_attempts(&self, id: QueueId, attempts: Vec<AttemptRecord>);

    /// Gives a lease back: the message is due as it was and no attempt is counted.
    fn put_back(&self, claim: Claim);

    /// How long it is until the next message of these groups that is not leased becomes due; none when nothing waits.
    fn next_due(&self, groups: Vec<ClaimGroup>) -> Pending<'_, Option<Duration>>;

    /// Notified of every message that is new, newly due or put back. A caller that knows [`DeliveryQueue::next_due`] and
    /// has not been notified since need not ask again before that time.
    fn due_changed(&self) -> Arc<Notify>;

    /// Makes every message due now that some upstream has refused: after a change of the configuration an upstream may
    /// accept it. A message leased to an attempt is due at once when that attempt has ended.
    fn make_refused_due(&self) -> Pending<'_, ()>;

    /// Names of all sites that there was ever mail of, configured or not.
    fn sites(&self) -> Vec<String>;

    /// A page of at most `limit` held messages, newest first, from `cursor` on (inclusive).
    fn held(&self, cursor: Option<QueueId>, limit: usize) -> Pending<'_, Page>;

    /// Changes what holds messages, as settings have changed. A message whose hold is not the expected one any more is left
    /// alone.
    fn change_holds(&self, changes: Vec<HoldChange>) -> Pending<'_, ()>;
}
