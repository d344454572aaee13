//! What every message passes: its commands, its content, the queue. `cargo bench` prints a table.
//!
//! For changes of a path of its own; what users get is measured by `scripts/bench`.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use futures_util::future::join_all;
use postroom::clock::SystemClock;
use postroom::config::settings::{BareNewline, LogSettings};
use postroom::event::outcome::{Delays, OutcomeRecord};
use postroom::event::{EventType, Fact};
use postroom::log::Log;
use postroom::mail::*;
use postroom::queue::redb::{Options, RedbQueue};
use postroom::queue::{
    Claim, ClaimGroup, ClaimRequest, DeliveryQueue, MailStore, RecipientVerdict, Settlement, Timeline,
};
use postroom::reception::content::ContentReader;
use postroom::smtp::command;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

fn main() {
    // The lines go to standard error: `cargo bench -- outcome_line 2>log`.
    let started = Log::start(&LogSettings { level: "info".to_owned(), json: false });
    #[expect(clippy::expect_used, reason = "a benchmark without its log measures another thing")]
    let _end = started.expect("a thread").1;
    divan::main();
}

const MIB: usize = 1 << 20;
/// As much as one read from a socket brings.
const READ: usize = 64 * 1024;
/// Content of a message of the queue.
const SIZE: usize = 4 * 1024;
/// Callers that share a commit.
const GROUPS: [usize; 5] = [1, 4, 16, 64, 256];

/// Lines of that length, as a client sends them, with the dot that ends them.
#[divan::bench(args = [20, 76, 998])]
fn content(bencher: Bencher<'_, '_>, length: usize) {
    let line = [vec![b'x'; length], b"\r\n".to_vec()].concat();
    let mut input = line.repeat(MIB / line.len());
    input.extend_from_slice(b".\r\n");
    bencher.counter(BytesCount::new(input.len())).bench_local(|| {
        let mut reader = ContentReader::data(BareNewline::Normalize, u64::MAX);
        let mut stored = 0;
        for read in input.chunks(READ) {
            reader.read(read, |clean| stored += divan::black_box(clean).len());
        }
        stored
    });
}

const COMMANDS: [&str; 4] = [
    "EHLO shop.example.com",
    "MAIL FROM:<bounces+4711@shop.example.com> SIZE=4096 BODY=8BITMIME",
    "RCPT TO:<\"ann.b\"@customer.example.net>",
    "DATA",
];

#[divan::bench(args = COMMANDS)]
fn command(bencher: Bencher<'_, '_>, line: &str) {
    let line = format!("{line}\r\n");
    bencher.counter(ItemsCount::new(1usize)).bench(|| command::parse(line.as_bytes(), "proxy.example.com"));
}

/// The line that says what became of a recipient, from the verdict to the log.
#[divan::bench]
fn outcome_line(bencher: Bencher<'_, '_>) {
    let id = QueueId::from_number(u128::MAX / 3);
    #[expect(clippy::unwrap_used, reason = "the addresses stand here")]
    let (sender, recipient) = (
        "bounces+4711@shop.example.com".parse().unwrap(),
        "ann@customer.example.net".parse::<Address>().unwrap(),
    );
    let reverse_path = ReversePath::Address(sender);
    let verdict = Verdict {
        grounds: postroom::mail::Grounds::Content,
        outcome: Outcome::Delivered,
        upstream: Some("primary".to_owned()),
        reply: "250 2.0.0 Ok: queued as 4XkZ1b5TzKz9vR".to_owned(),
        enhanced: EnhancedCode(2, 0, 0),
        refused_by: Vec::new(),
    };
    let delays = Delays { before_queue: Duration::from_millis(21), ..Delays::default() };
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let outcome = OutcomeRecord {
            time: jiff::Timestamp::UNIX_EPOCH,
            queue_id: id,
            reverse_path: &reverse_path,
            role: Role::Original,
            recipient: &recipient,
            site: "",
            mode: None,
            verdict: &verdict,
            delays,
        };
        outcome.log();
        outcome.fact()
    });
}

#[divan::bench(args = GROUPS, sample_count = 50, sample_size = 4)]
fn put(bencher: Bencher<'_, '_>, callers: usize) {
    let stage = Stage::new();
    bencher
        .counter(ItemsCount::new(callers))
        .with_inputs(|| stage.messages(callers))
        .bench_local_values(|messages| stage.put(messages));
}

#[divan::bench(args = GROUPS, sample_count = 50, sample_size = 1)]
fn settle(bencher: Bencher<'_, '_>, callers: usize) {
    let stage = Stage::new();
    bencher
        .counter(ItemsCount::new(callers))
        .with_inputs(|| {
            stage.put(stage.messages(callers));
            stage.claim(callers)
        })
        .bench_local_values(|claims| stage.settle(claims));
}

/// A queue on the disk that builds are on, not in memory: what counts is fsync.
struct Stage {
    runtime: Runtime,
    queue: RedbQueue,
    _folder: tempfile::TempDir,
}

impl Stage {
    #[expect(clippy::expect_used, reason = "a benchmark without its stage is none")]
    fn new() -> Stage {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let options = Options::new(Arc::new(SystemClock::default()));
        let queue = RedbQueue::open(&folder.path().join("queue.redb"), options).expect("a queue");
        Stage { runtime, queue, _folder: folder }
    }

    fn messages(&self, count: usize) -> Vec<(Message, Bytes)> {
        let content = Bytes::from(vec![b'x'; SIZE]);
        (0..count).map(|_| (message(&self.queue), content.clone())).collect()
    }

    #[expect(clippy::unwrap_used, reason = "a benchmark of failures is none")]
    fn put(&self, messages: Vec<(Message, Bytes)>) {
        let put = |(message, content): (Message, Bytes)| {
            let fact = fact(message.id, "queued");
            self.queue.put(message, content, vec![fact])
        };
        for done in self.runtime.block_on(join_all(messages.into_iter().map(put))) {
            done.unwrap();
        }
    }

    #[expect(clippy::unwrap_used, reason = "a benchmark of failures is none")]
    fn claim(&self, count: usize) -> Vec<Claim> {
        let claimed = self.queue.claim(
            Duration::from_secs(60),
            vec![ClaimRequest {
                group: ClaimGroup { site: String::new(), under_mode: false },
                due_by: self.queue.now(),
                limit: count,
            }],
            count,
        );
        self.runtime.block_on(claimed).unwrap()
    }

    #[expect(clippy::unwrap_used, reason = "a benchmark of failures is none")]
    fn settle(&self, claims: Vec<Claim>) {
        let settle = |claim: Claim| {
            let settlement = delivered(&self.queue, &claim);
            self.queue.settle(claim, settlement)
        };
        for done in self.runtime.block_on(join_all(claims.into_iter().map(settle))) {
            done.unwrap();
        }
    }
}

fn message(queue: &RedbQueue) -> Message {
    let now = queue.now();
    let received_at = queue.wall(now);
    let id = QueueId::fresh(received_at.as_millisecond().unsigned_abs());
    let address = |text: &str| text.parse::<Address>();
    #[expect(clippy::unwrap_used, reason = "the addresses stand here")]
    let (sender, recipient) = (address("shop@example.com").unwrap(), address("ann@example.net").unwrap());
    Message {
        id,
        reverse_path: ReversePath::Address(sender),
        recipients: vec![Recipient::pending(recipient)],
        body: BodyType::SevenBit,
        smtp_utf8: false,
        size: SIZE as u64,
        chunks: 1,
        header: HeaderFacts { subject: Some("Your order".to_owned()), ..HeaderFacts::default() },
        origin: Origin {
            listener: "local".to_owned(),
            client: Some([127, 0, 0, 1].into()),
            user: None,
            helo: "shop.example.com".to_owned(),
            protocol: "ESMTP".to_owned(),
        },
        received_at,
        reception_ms: 1,
        due: Some(now),
        life_start: now,
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    }
}

fn delivered(queue: &RedbQueue, claim: &Claim) -> Settlement {
    let verdict = Verdict {
        grounds: postroom::mail::Grounds::Content,
        outcome: Outcome::Delivered,
        upstream: Some("primary".to_owned()),
        reply: "250 2.0.0 taken".to_owned(),
        enhanced: EnhancedCode(2, 0, 0),
        refused_by: Vec::new(),
    };
    Settlement {
        verdicts: vec![RecipientVerdict {
            role: Role::Original,
            address: claim.message.recipients[0].address.clone(),
            verdict,
            mode: None,
        }],
        dropped_copies: Vec::new(),
        mode: None,
        hold: None,
        counted: true,
        steps_on: true,
        next_due: queue.now(),
        failed_upstream: None,
        archived: None,
        attempts: Vec::new(),
        facts: vec![fact(claim.message.id, "delivered")],
        follow_up: None,
    }
}

fn fact(id: QueueId, what: &str) -> Fact {
    let wall = jiff::Timestamp::UNIX_EPOCH;
    let mut fact =
        Fact::new(wall, EventType::Information, "Mail", what, format!("{what} to <ann@example.net>"));
    fact.queue_id = Some(id);
    fact
}
