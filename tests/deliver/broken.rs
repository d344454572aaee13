//! A queue that cannot hand out a content to its end.

use jiff::Timestamp;
use postroom::clock::Moment;
use postroom::event::{Event, EventFilter, Fact};
use postroom::mail::{BodyType, HeaderFacts, Message, Origin, QueueId, ReversePath};
use postroom::queue::{EventLog, MailStore, Pending, QueueError, QueueStatus, Timeline};
use std::sync::Arc;

type Chunk = bytes::Bytes;

/// The third chunk cannot be read.
pub(super) fn queue_with_two_chunks_of_three() -> (Arc<dyn MailStore>, Message) {
    let message = Message {
        id: QueueId::fresh(0),
        reverse_path: ReversePath::Null,
        recipients: Vec::new(),
        body: BodyType::SevenBit,
        smtp_utf8: false,
        size: 300_000,
        chunks: 3,
        header: HeaderFacts::default(),
        origin: Origin {
            listener: String::new(),
            client: None,
            user: None,
            helo: String::new(),
            protocol: String::new(),
        },
        received_at: Timestamp::UNIX_EPOCH,
        reception_ms: 0,
        due: None,
        life_start: Moment(0),
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    };
    (Arc::new(Broken), message)
}

struct Broken;

impl MailStore for Broken {
    fn chunk(&self, _: QueueId, number: u32) -> Pending<'_, Chunk> {
        Box::pin(async move {
            match number {
                0 | 1 => Ok(Chunk::from("half\r\n".repeat(20_000))),
                _ => Err(QueueError::Storage("the disk is gone".to_owned())),
            }
        })
    }

    // A connection calls nothing else of a queue.
    fn stage(&self, _: QueueId, _: u32, _: Chunk) -> Pending<'_, ()> {
        unreachable!()
    }
    fn discard(&self, _: QueueId) {
        unreachable!()
    }
    fn put(&self, _: Message, _: Chunk, _: Vec<Fact>) -> Pending<'_, ()> {
        unreachable!()
    }
    fn show(&self, _: QueueId) -> Pending<'_, Arc<Message>> {
        unreachable!()
    }
    fn remove_failed(&self, _: Moment) -> Pending<'_, u64> {
        unreachable!()
    }
    fn status(&self) -> QueueStatus {
        unreachable!()
    }
    fn free_space(&self) -> Option<u64> {
        unreachable!()
    }
    fn instance(&self) -> &str {
        unreachable!()
    }
}

impl Timeline for Broken {
    fn now_of(&self, _: &str) -> Moment {
        unreachable!()
    }
    fn wall_of(&self, _: &str, _: Moment) -> Timestamp {
        unreachable!()
    }
    fn common_now(&self) -> Moment {
        unreachable!()
    }
    fn freeze(&self, _: &str, _: bool) {
        unreachable!()
    }
}

impl EventLog for Broken {
    fn record(&self, _: Vec<Fact>) {
        unreachable!()
    }
    fn events_where(&self, _: EventFilter, _: Option<u64>, _: usize) -> Pending<'_, Vec<Event>> {
        unreachable!()
    }
    fn events_before(&self, _: EventFilter, _: Option<u64>, _: usize) -> Pending<'_, Vec<Event>> {
        unreachable!()
    }
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        unreachable!()
    }
    fn keep_events(&self, _: u64) {
        unreachable!()
    }
}
