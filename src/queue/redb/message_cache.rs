//! The newest messages, with their contents, in memory: most are claimed as soon as they are put.

use crate::mail::{Message, QueueId};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Cached messages and their contents take at most this much memory.
const CACHE_BUDGET: usize = 16 * 1024 * 1024;
/// Larger contents are read from the file.
const LARGEST_CACHED: usize = 64 * 1024;
/// What a message costs beside its content, roughly.
const CACHE_OVERHEAD: usize = 1_024;

/// Messages as they were put and not changed since.
#[derive(Default)]
pub(super) struct MessageCache {
    messages: HashMap<QueueId, (Arc<Message>, Bytes)>,
    /// Oldest first; may name messages that are gone.
    order: VecDeque<QueueId>,
    bytes: usize,
}

impl MessageCache {
    /// How many messages are cached.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn message(&self, id: QueueId) -> Option<Arc<Message>> {
        self.messages.get(&id).map(|(message, _)| message.clone())
    }

    /// The chunk, where the message has only one.
    pub(super) fn chunk(&self, id: QueueId, number: u32) -> Option<Bytes> {
        let (message, content) = self.messages.get(&id)?;
        (number == 0 && message.chunks == 1).then(|| content.clone())
    }

    pub(super) fn add(&mut self, message: Arc<Message>, content: Bytes) {
        if message.chunks > 1 || content.len() > LARGEST_CACHED {
            return;
        }
        let id = message.id;
        self.remove(id);
        self.bytes += CACHE_OVERHEAD + content.len();
        self.messages.insert(id, (message, content));
        self.order.push_back(id);
        while self.bytes > CACHE_BUDGET
            && let Some(oldest) = self.order.pop_front()
        {
            self.remove(oldest);
        }
        if self.order.len() > 2 * self.messages.len() + 64 {
            let messages = &self.messages;
            self.order.retain(|id| messages.contains_key(id));
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) {
        if let Some((_, content)) = self.messages.remove(&id) {
            self.bytes -= CACHE_OVERHEAD + content.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_message::message;
    use super::*;

    #[test]
    fn cached_messages_stay_within_their_budget_and_the_oldest_go_first() {
        let mut cache = MessageCache::default();
        let all: Vec<_> = (0..2_000).map(|_| message(30_000)).collect();
        for message in &all {
            cache.add(message.clone(), Bytes::from(vec![0; 30_000]));
            assert!(cache.bytes <= CACHE_BUDGET);
        }
        assert!(cache.message(all[0].id).is_none());
        assert_eq!(cache.chunk(all[1_999].id, 0).map(|chunk| chunk.len()), Some(30_000));
        for message in &all {
            cache.remove(message.id);
        }
        assert_eq!((cache.bytes, cache.messages.len()), (0, 0));
        for _ in 0..10_000 {
            let message = message(10);
            cache.add(message.clone(), Bytes::from_static(b"content"));
            cache.remove(message.id);
        }
        assert!(cache.order.len() < 200, "what is gone does not pile up: {}", cache.order.len());
    }
}
