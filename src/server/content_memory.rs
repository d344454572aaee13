//! `content_memory`, shared by reception and delivery as permits of one KiB, and changed by a reload.
//!
//! Promise: after [`ContentMemory::resize`] nobody gets a permit beyond the new size. Permits that are held beyond it are taken
//! out of use when they are given back, before those who wait for memory get any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// `content_memory` of a running server.
pub(super) struct ContentMemory {
    permits: Arc<Semaphore>,
    size: Arc<Mutex<Size>>,
}

struct Size {
    /// Permits that there are, held ones included.
    permits: usize,
    /// Counts the calls of `resize`, so that a task that belongs to an earlier call changes nothing any more.
    changes: u64,
    /// The task that waits for permits to take out of use.
    shrinking: Option<AbortHandle>,
}

impl ContentMemory {
    /// With so many bytes.
    pub(super) fn new(bytes: u64) -> ContentMemory {
        let permits = kib(bytes);
        let size = Size { permits, changes: 0, shrinking: None };
        ContentMemory { permits: Arc::new(Semaphore::new(permits)), size: Arc::new(Mutex::new(size)) }
    }

    /// The permits, to take from.
    pub(super) fn permits(&self) -> Arc<Semaphore> {
        self.permits.clone()
    }

    /// Changes it to so many bytes. Must be called within a tokio runtime.
    pub(super) fn resize(&self, bytes: u64) {
        let wanted = kib(bytes);
        let mut size = lock(&self.size);
        size.changes += 1;
        if let Some(earlier) = size.shrinking.take() {
            earlier.abort();
        }
        if wanted >= size.permits {
            self.permits.add_permits(wanted - size.permits);
            size.permits = wanted;
            return;
        }
        size.permits -= self.permits.forget_permits(size.permits - wanted);
        let Ok(left) = u32::try_from(size.permits - wanted) else { return };
        if left > 0 {
            let (permits, all, change) = (self.permits.clone(), self.size.clone(), size.changes);
            let shrinking = tokio::spawn(async move {
                let Ok(taken) = permits.acquire_many(left).await else { return };
                let mut size = lock(&all);
                if size.changes == change {
                    taken.forget();
                    size.permits -= left as usize;
                }
            });
            size.shrinking = Some(shrinking.abort_handle());
        }
    }
}

fn lock(size: &Mutex<Size>) -> MutexGuard<'_, Size> {
    size.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most four TiB: a semaphore has no more permits, and no machine more memory.
fn kib(bytes: u64) -> usize {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    /// Permits that nobody holds.
    fn free(memory: &ContentMemory) -> usize {
        memory.permits.available_permits()
    }

    async fn settled(memory: &ContentMemory, expected: usize) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(free(memory), expected);
    }

    #[tokio::test]
    async fn it_grows_and_shrinks() {
        let memory = ContentMemory::new(10 * KIB);
        memory.resize(30 * KIB);
        assert_eq!(free(&memory), 30);
        memory.resize(5 * KIB);
        assert_eq!(free(&memory), 5);
        memory.resize(5 * KIB);
        assert_eq!(free(&memory), 5);
    }

    #[tokio::test]
    async fn what_is_held_beyond_the_new_size_is_taken_out_of_use_as_it_comes_back() {
        let memory = ContentMemory::new(10 * KIB);
        let (first, second) = (memory.permits.acquire_many(4).await, memory.permits.acquire_many(5).await);
        memory.resize(3 * KIB);
        settled(&memory, 0).await;
        drop(first);
        settled(&memory, 0).await;
        assert!(memory.permits.try_acquire().is_err(), "five are held, more than there may be");
        drop(second);
        settled(&memory, 3).await;
    }

    #[tokio::test]
    async fn who_waits_for_memory_waits_until_there_is_room_under_the_new_size() {
        let memory = ContentMemory::new(10 * KIB);
        let held = memory.permits.acquire_many(10).await;
        memory.resize(4 * KIB);
        settled(&memory, 0).await;
        let waiting = tokio::spawn(memory.permits().acquire_many_owned(2));
        drop(held);
        let permit = waiting.await.unwrap();
        settled(&memory, 2).await;
        drop(permit);
        assert_eq!(free(&memory), 4);
    }

    #[tokio::test]
    async fn a_second_change_before_the_first_is_done_is_the_one_that_counts() {
        let memory = ContentMemory::new(10 * KIB);
        let held = memory.permits.acquire_many(10).await;
        memory.resize(2 * KIB);
        settled(&memory, 0).await;
        memory.resize(7 * KIB);
        memory.resize(20 * KIB);
        settled(&memory, 10).await;
        memory.resize(4 * KIB);
        memory.resize(6 * KIB);
        drop(held);
        settled(&memory, 6).await;
    }
}
