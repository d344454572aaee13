//! Tests of the module `queue`.
//!
//! `contract` holds for every engine; the rest is about the redb file: opening it, crashes, a disk that fails, and
//! comparison with a plain model.

mod archive;
mod contract;
mod crash;
mod damage;
mod disk;
mod failing;
mod file;
mod filter;
mod follow_up;
mod lanes;
mod model;
mod older;
mod taken_files;

use bytes::Bytes;
use jiff::Timestamp;
use postroom::clock::{ManualClock, Moment};
use postroom::event::{EventType, Fact};
use postroom::mail::*;
use postroom::queue::redb::{Options, RedbQueue};
use postroom::queue::{
    CHUNK_SIZE, Claim, ClaimGroup, ClaimRequest, DeliveryQueue, EventLog, FollowUp, MailStore, Operations,
    Queue, QueueError, RecipientVerdict, Settlement, Timeline,
};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()))
}

fn options(clock: &Arc<ManualClock>) -> Options {
    Options { cache_size: 4 * 1024 * 1024, ..Options::new(clock.clone()) }
}

/// A queue file that lasts as long as the test.
struct Home {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl Home {
    fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap(), clock: clock() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("queue.redb")
    }

    fn open(&self) -> RedbQueue {
        RedbQueue::open(&self.path(), options(&self.clock)).unwrap()
    }
}

/// A message for `recipients`, due now, with content of `size` bytes.
pub fn message(queue: &dyn Queue, recipients: &[&str], size: usize) -> Message {
    let now = queue.now();
    let received_at = queue.wall(now);
    let address = |text: &&str| Recipient::pending(text.parse().unwrap());
    Message {
        id: next_id(received_at),
        reverse_path: ReversePath::Address("sender@example.com".parse().unwrap()),
        recipients: recipients.iter().map(address).collect(),
        body: BodyType::SevenBit,
        smtp_utf8: false,
        size: size as u64,
        chunks: size.div_ceil(CHUNK_SIZE) as u32,
        header: HeaderFacts { subject: Some("A test".to_owned()), ..HeaderFacts::default() },
        origin: Origin {
            listener: "local".to_owned(),
            client: Some("127.0.0.1".parse().unwrap()),
            user: None,
            helo: "client.test".to_owned(),
            protocol: "ESMTP".to_owned(),
        },
        received_at,
        reception_ms: 3,
        due: Some(now),
        life_start: now,
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    }
}

/// Ids of one millisecond in the order of their making, so that a test knows which is newer.
fn next_id(received_at: Timestamp) -> QueueId {
    static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let milliseconds = received_at.as_millisecond() as u128;
    QueueId::from_number((milliseconds << 80) | (u128::from(count) << 48) | u128::from(fastrand::u32(..)))
}

/// Content that is different for every message and every place in it.
fn content(message: &Message) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(message.id.number() as u64);
    let mut content = vec![0; message.size as usize];
    random.fill(&mut content);
    content
}

/// Stages and puts the message with its [`content`].
async fn put(queue: &dyn Queue, message: &Message) -> Result<(), QueueError> {
    let content = Bytes::from(content(message));
    let mut tail = content;
    for number in 0..message.chunks.saturating_sub(1) {
        let chunk = tail.split_to(CHUNK_SIZE);
        if let Err(error) = queue.stage(message.id, number, chunk).await {
            queue.discard(message.id);
            return Err(error);
        }
    }
    queue.put(message.clone(), tail, vec![fact(message.id, "QUEUED")]).await
}

async fn put_new(queue: &dyn Queue, recipients: &[&str]) -> Message {
    let message = message(queue, recipients, 500);
    put(queue, &message).await.unwrap();
    message
}

/// Reads the whole content back.
async fn read(queue: &dyn Queue, message: &Message) -> Result<Vec<u8>, QueueError> {
    let mut content = Vec::new();
    for number in 0..message.chunks {
        content.extend_from_slice(&queue.chunk(message.id, number).await?);
    }
    Ok(content)
}

/// Mail that belongs to no site and is under no mode.
fn no_site() -> ClaimGroup {
    ClaimGroup { site: String::new(), under_mode: false }
}

fn of_no_site(due_by: Moment, limit: usize) -> Vec<ClaimRequest> {
    vec![ClaimRequest { group: no_site(), due_by, limit }]
}

/// When the next message of no site is due; what is overdue counts as due now.
async fn next_due(queue: &dyn Queue) -> Option<Moment> {
    let wait = queue.next_due(vec![no_site()]).await.unwrap();
    wait.map(|wait| queue.now().after(wait))
}

async fn claim(queue: &dyn Queue, limit: usize) -> Vec<Claim> {
    queue.claim(5 * MINUTE, of_no_site(queue.now(), limit), usize::MAX).await.unwrap()
}

async fn claim_one(queue: &dyn Queue) -> Claim {
    let mut claims = claim(queue, 1).await;
    claims.pop().expect("a message is due")
}

fn verdict(outcome: Outcome) -> Verdict {
    let (reply, enhanced) = match outcome {
        Outcome::Delivered => ("250 2.0.0 ok", EnhancedCode(2, 0, 0)),
        Outcome::Deferred => ("451 4.3.0 later", EnhancedCode(4, 3, 0)),
        Outcome::Failed => ("550 5.1.1 nobody", EnhancedCode(5, 1, 1)),
        Outcome::Expired => ("451 4.4.7 too old", EnhancedCode(4, 4, 7)),
    };
    Verdict {
        outcome,
        upstream: Some("primary".to_owned()),
        reply: reply.to_owned(),
        grounds: postroom::mail::Grounds::Content,
        enhanced,
        refused_by: Vec::new(),
    }
}

/// One outcome for each open recipient, due again in a minute.
fn settlement(queue: &dyn Queue, claim: &Claim, outcomes: &[Outcome]) -> Settlement {
    assert_eq!(claim.message.open_recipients().count(), outcomes.len());
    Settlement {
        verdicts: claim
            .message
            .open_recipients()
            .zip(outcomes)
            .map(|((_, recipient), outcome)| RecipientVerdict {
                role: recipient.role,
                address: recipient.address.clone(),
                verdict: verdict(*outcome),
                mode: None,
            })
            .collect(),
        dropped_copies: Vec::new(),
        mode: None,
        hold: None,
        counted: true,
        steps_on: true,
        next_due: queue.now().after(MINUTE),
        failed_upstream: None,
        archived: None,
        attempts: Vec::new(),
        facts: vec![fact(claim.message.id, "attempted")],
        follow_up: None,
    }
}

/// A notice about these recipients of a message, with content of `size` bytes, of which all but the last chunk are staged.
async fn follow_up(
    queue: &dyn Queue,
    about: &Message,
    told: &[&str],
    size: usize,
) -> (Message, Box<FollowUp>) {
    let message = Message {
        is_notice: true,
        reverse_path: ReversePath::Null,
        ..message(queue, &["sender@example.com"], size)
    };
    let mut tail = Bytes::from(content(&message));
    for number in 0..message.chunks.saturating_sub(1) {
        // After an error the settlement says that they are gone.
        let _ = queue.stage(message.id, number, tail.split_to(CHUNK_SIZE)).await;
    }
    let failures_told = told.iter().map(|address| address.parse().unwrap()).collect();
    let facts = vec![fact(about.id, "BOUNCED")];
    (message.clone(), Box::new(FollowUp { message, tail, failures_told, delay_told: false, facts }))
}

async fn settle(queue: &dyn Queue, claim: Claim, outcomes: &[Outcome]) {
    let settlement = settlement(queue, &claim, outcomes);
    queue.settle(claim, settlement).await.unwrap();
}

/// The same by somebody whose lease has passed on.
async fn settle_too_late(queue: &dyn Queue, claim: Claim, outcomes: &[Outcome]) {
    let settlement = settlement(queue, &claim, outcomes);
    let refused = queue.settle(claim, settlement).await;
    assert!(matches!(refused, Err(QueueError::FencedOff(_))), "{refused:?}");
}

fn fact(id: QueueId, code: &str) -> Fact {
    let mut fact =
        Fact::new(Timestamp::UNIX_EPOCH, EventType::Information, "Mail", code, format!("{code} {id}"));
    fact.queue_id = Some(id);
    fact
}

fn ids(messages: &[Arc<Message>]) -> Vec<QueueId> {
    messages.iter().map(|message| message.id).collect()
}

fn claimed(claims: &[Claim]) -> Vec<QueueId> {
    claims.iter().map(|claim| claim.message.id).collect()
}

/// The next event codes that a follower sees.
fn codes(events: &[postroom::event::Event]) -> Vec<&str> {
    events.iter().map(|event| event.fact.code.as_str()).collect()
}

fn moment_in(queue: &dyn Queue, time: Duration) -> Moment {
    queue.now().after(time)
}
