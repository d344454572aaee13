//! A queue that cannot hand out a content to its end.

use jiff::Timestamp;
use postroom::clock::Moment;
use postroom::event::{Event, Fact};
use postroom::mail::{BodyType, HeaderFacts, Message, Origin, QueueId, ReversePath};
use postroom::queue::{Claim, Filter, Health, Obeyed, Order, Page, Pending, Queue, QueueError, Settlement};
use std::sync::Arc;
use std::time::Duration;

type Chunk = bytes::Bytes;

/// The third chunk cannot be read.
pub(super) fn queue_with_two_chunks_of_three() -> (Arc<dyn Queue>, Message) {
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

impl Queue for Broken {
    fn chunk(&self, _: QueueId, number: u32) -> Pending<'_, Chunk> {
        Box::pin(async move {
            match number {
                0 | 1 => Ok(Chunk::from("half\r\n".repeat(20_000))),
                _ => Err(QueueError::Storage("the disk is gone".to_owned())),
            }
        })
    }

    // Nothing below is what a connection may ask of a queue.
    fn now(&self) -> Moment {
        unreachable!()
    }
    fn wall(&self, _: Moment) -> Timestamp {
        unreachable!()
    }
    fn freeze(&self, _: bool) {
        unreachable!()
    }
    fn room(&self) -> Option<u64> {
        unreachable!()
    }
    fn stage(&self, _: QueueId, _: u32, _: Chunk) -> Pending<'_, ()> {
        unreachable!()
    }
    fn discard(&self, _: QueueId) {
        unreachable!()
    }
    fn put(&self, _: Message, _: Chunk, _: Vec<Fact>) -> Pending<'_, ()> {
        unreachable!()
    }
    fn claim(&self, _: Moment, _: Duration, _: &[String], _: usize) -> Pending<'_, Vec<Claim>> {
        unreachable!()
    }
    fn settle(&self, _: Claim, _: Settlement) -> Pending<'_, ()> {
        unreachable!()
    }
    fn put_back(&self, _: Claim) {
        unreachable!()
    }
    fn next_due(&self, _: &[String]) -> Pending<'_, Option<Moment>> {
        unreachable!()
    }
    fn claim_old(&self, _: Moment, _: Moment, _: Duration, _: usize) -> Pending<'_, Vec<Claim>> {
        unreachable!()
    }
    fn order(&self, _: Order, _: Vec<QueueId>) -> Pending<'_, Vec<Obeyed>> {
        unreachable!()
    }
    fn remove_failed(&self, _: Timestamp) -> Pending<'_, u64> {
        unreachable!()
    }
    fn hasten_refused(&self) -> Pending<'_, ()> {
        unreachable!()
    }
    fn list(&self, _: Filter, _: Option<QueueId>, _: usize) -> Pending<'_, Page> {
        unreachable!()
    }
    fn show(&self, _: QueueId) -> Pending<'_, Arc<Message>> {
        unreachable!()
    }
    fn record(&self, _: Vec<Fact>) {
        unreachable!()
    }
    fn events(&self, _: Option<u64>, _: usize) -> Pending<'_, Vec<Event>> {
        unreachable!()
    }
    fn follow(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        unreachable!()
    }
    fn keep_events(&self, _: u64) {
        unreachable!()
    }
    fn woken(&self) -> Arc<tokio::sync::Notify> {
        unreachable!()
    }
    fn health(&self) -> Health {
        unreachable!()
    }
    fn instance(&self) -> &str {
        unreachable!()
    }
    fn close(&self) -> Pending<'_, ()> {
        unreachable!()
    }
}
