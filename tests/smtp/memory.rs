//! A queue in memory, with faults to switch on: what the server needs of the trait and nothing else.

use bytes::Bytes;
use jiff::Timestamp;
use postroom::clock::Moment;
use postroom::event::{Event, EventFilter, Fact};
use postroom::mail::{Message, QueueId};
use postroom::queue::{CHUNK_SIZE, EventLog, MailStore, Pending, QueueError, QueueStatus, Timeline};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What is to go wrong.
#[derive(Default)]
pub struct Faults {
    pub stage: Mutex<Option<QueueError>>,
    pub put: Mutex<Option<QueueError>>,
    pub health_panics: AtomicBool,
    /// Contents are not kept, so that what is measured is the server's memory.
    pub forgetful: AtomicBool,
}

#[derive(Default)]
pub struct MemoryQueue {
    pub faults: Faults,
    pub messages: Mutex<Vec<(Message, Vec<u8>)>>,
    pub staged: Mutex<HashMap<QueueId, Vec<Bytes>>>,
    pub facts: Mutex<Vec<Fact>>,
    /// Bytes that it has room for in all; a tebibyte unless set.
    pub disk: Mutex<Option<u64>>,
    /// Closed: puts wait.
    pub gate: tokio::sync::RwLock<()>,
}

impl MemoryQueue {
    pub fn taken(&self) -> Vec<(Message, Vec<u8>)> {
        self.messages.lock().unwrap().clone()
    }
}

fn unused<T>() -> Pending<'static, T> {
    Box::pin(async { Err(QueueError::Closed) })
}

impl Timeline for MemoryQueue {
    fn now_of(&self, _: &str) -> Moment {
        Moment(7)
    }
    fn wall_of(&self, _: &str, _: Moment) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn common_now(&self) -> Moment {
        unreachable!()
    }
    fn freeze(&self, _: &str, _: bool) {}
}

impl EventLog for MemoryQueue {
    fn record(&self, facts: Vec<Fact>) {
        self.facts.lock().unwrap().extend(facts);
    }
    fn events_where(&self, _: EventFilter, _: Option<u64>, _: usize) -> Pending<'_, Vec<Event>> {
        unused()
    }
    fn events_before(&self, _: EventFilter, _: Option<u64>, _: usize) -> Pending<'_, Vec<Event>> {
        unused()
    }
    fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        tokio::sync::broadcast::channel(1).1
    }
    fn keep_events(&self, _: u64) {}
}

impl MailStore for MemoryQueue {
    fn stage(&self, id: QueueId, number: u32, chunk: Bytes) -> Pending<'_, ()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if let Some(error) = &*self.faults.stage.lock().unwrap() {
                return Err(error.clone());
            }
            assert_eq!(chunk.len(), CHUNK_SIZE, "every chunk but the last is whole");
            let mut staged = self.staged.lock().unwrap();
            let chunks = staged.entry(id).or_default();
            assert_eq!(chunks.len(), number as usize);
            chunks.push(if self.faults.forgetful.load(Ordering::SeqCst) { Bytes::new() } else { chunk });
            Ok(())
        })
    }
    fn discard(&self, id: QueueId) {
        self.staged.lock().unwrap().remove(&id);
    }
    fn put(&self, message: Message, tail: Bytes, facts: Vec<Fact>) -> Pending<'_, ()> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            if let Some(error) = &*self.faults.put.lock().unwrap() {
                return Err(error.clone());
            }
            let mut chunks = self.staged.lock().unwrap().remove(&message.id).unwrap_or_default();
            if !tail.is_empty() {
                chunks.push(tail);
            }
            assert_eq!(chunks.len(), message.chunks as usize);
            let forgotten = self.faults.forgetful.load(Ordering::SeqCst);
            let content = if forgotten { Vec::new() } else { chunks.concat() };
            assert!(forgotten || content.len() as u64 == message.size);
            self.facts.lock().unwrap().extend(facts);
            self.messages.lock().unwrap().push((message, content));
            Ok(())
        })
    }
    fn chunk(&self, _: QueueId, _: u32) -> Pending<'_, Bytes> {
        unused()
    }
    fn show(&self, _: QueueId) -> Pending<'_, Arc<Message>> {
        unused()
    }
    fn remove_failed(&self, _: Moment) -> Pending<'_, u64> {
        unused()
    }
    fn status(&self) -> QueueStatus {
        assert!(!self.faults.health_panics.load(Ordering::SeqCst), "a panic that a test asked for");
        QueueStatus {
            writable: true,
            queued: self.messages.lock().unwrap().len() as u64,
            ..QueueStatus::default()
        }
    }
    fn free_space(&self) -> Option<u64> {
        let staged =
            self.staged.lock().unwrap().values().flatten().map(|chunk| chunk.len() as u64).sum::<u64>();
        let stored =
            self.messages.lock().unwrap().iter().map(|(_, content)| content.len() as u64).sum::<u64>();
        let disk = self.disk.lock().unwrap().unwrap_or(1 << 40);
        Some(disk.saturating_sub(staged + stored))
    }
    fn instance(&self) -> &str {
        "c0ffee0000000000"
    }
}
