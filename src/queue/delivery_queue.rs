//! The delivery queue: due messages are claimed, attempted and settled.

use super::error::Pending;
use super::mail_store::MailStore;
use crate::clock::Moment;
use crate::event::Fact;
use crate::mail::{Message, Verdict};
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

/// The outcome of an attempt, to be written in one commit.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// One verdict for each recipient that was open at the claim, in their order.
    pub verdicts: Vec<Verdict>,
    /// MAIL was sent to an upstream: one more attempt is counted (rule 12).
    pub counted: bool,
    /// What is still open goes one step on in the retry schedule.
    pub steps_on: bool,
    /// Due time of what is still open, if anything is.
    pub next_due: Moment,
    /// The upstream that failed last, if one did.
    pub failed_upstream: Option<String>,
    /// Facts to record in the same commit.
    pub facts: Vec<Fact>,
}

/// Hands due messages to attempts and takes their verdicts. The delivery engine uses this.
pub trait DeliveryQueue: MailStore {
    /// Due messages of these sites (`""`: mail of no site), each leased to the caller for `lease`. Urgent mail goes before
    /// normal, normal before bulk; within a class first attempts go before retries and the longest due first; sites take
    /// turns. While lower priorities wait they get every tenth message. If the caller does not settle within the lease, the
    /// next claim may take the message.
    fn claim(&self, now: Moment, lease: Duration, sites: &[String], limit: usize) -> Pending<'_, Vec<Claim>>;

    /// Leases messages due by `now` whose life began at or before `born_by`, the longest due first: they may expire though
    /// no upstream could be asked.
    fn claim_old(
        &self,
        now: Moment,
        born_by: Moment,
        lease: Duration,
        limit: usize,
    ) -> Pending<'_, Vec<Claim>>;

    /// Writes exactly one verdict for each claimed recipient, in one commit, and counts the attempt where
    /// `settlement.counted`. With nothing left open and nothing failed the message is removed. A claim that was fenced off
    /// changes nothing.
    fn settle(&self, claim: Claim, settlement: Settlement) -> Pending<'_, ()>;

    /// Gives a lease back: the message is due as it was and no attempt is counted.
    fn put_back(&self, claim: Claim);

    /// When the next message of these sites that is not leased becomes due; none when nothing waits.
    fn next_due(&self, sites: &[String]) -> Pending<'_, Option<Moment>>;

    /// Notified of every message that is new, newly due or put back. A caller that knows [`DeliveryQueue::next_due`] and
    /// has not been notified since need not ask again before that time.
    fn due_changed(&self) -> Arc<Notify>;

    /// Makes every message due now that some upstream has refused: after a change of the configuration an upstream may
    /// accept it. A message leased to an attempt is due at once when that attempt has ended.
    fn make_refused_due(&self) -> Pending<'_, ()>;
}
