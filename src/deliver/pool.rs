//! Idle connections, kept for the next message to the same upstream.
//!
//! Promise: what is taken out was, a moment ago, alive, young enough, not used up, and opened under the very settings
//! that are asked for: every setting counts, also one that changes nothing about a connection, so that none that is added
//! later can be forgotten. A server may still close it in that moment: see [`super::session_error::SessionErrorKind::Stale`].
//! What has been idle for `max_idle_time` is closed then, by a task that sleeps until the next one's time and is there
//! only while something is idle.
//!
//! Connections are closed in the background. A server counts a connection until it is closed, so a new one is opened
//! after [`Pool::all_closed`].

use super::connection::Connection;
use crate::config::settings::Upstream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The idle connections of all upstreams. All methods but [`Pool::close`] must be called within a tokio runtime:
/// connections are closed in the background.
#[derive(Default)]
pub struct Pool {
    shared: Arc<PoolShared>,
}

#[derive(Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    /// A connection was closed.
    closed: Notify,
    /// A connection expires earlier than the task that closes expired ones expects.
    earlier: Arc<Notify>,
}

#[derive(Default)]
struct PoolState {
    idle: HashMap<String, Vec<Idle>>,
    /// Connections that are being closed, by upstream.
    closing: HashMap<String, usize>,
    /// When the task that closes expired connections runs next; none where there is no such task.
    next_expiry: Option<Instant>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn expires(&self) -> Instant {
        let time = self.connection.upstream().max_idle_time;
        // A time that no clock can show never comes.
        self.since.checked_add(time).unwrap_or_else(|| self.since + NEVER)
    }
}

/// As good as never: a hundred years.
const NEVER: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Pool {
    /// The connection to this upstream that was used last, if one is good. The others stay until they expire.
    pub fn take(&self, upstream: &Upstream) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let mut idle = self.shared.lock().idle.get_mut(&upstream.name)?.pop()?;
            if idle.expires() > now && **idle.connection.upstream() == *upstream && idle.connection.is_alive()
            {
                return Some(idle.connection);
            }
            self.shared.close_in_background(idle.connection);
        }
    }

    /// Keeps a connection for the next message, unless it is used up or cannot be used again.
    pub fn give_back(&self, connection: Connection) {
        let upstream = Arc::clone(connection.upstream());
        if !connection.is_reusable() || connection.transactions() >= upstream.messages_per_connection {
            return self.shared.close_in_background(connection);
        }
        let idle = Idle { connection, since: Instant::now() };
        let expires = idle.expires();
        let mut state = self.shared.lock();
        state.idle.entry(upstream.name.clone()).or_default().push(idle);
        match state.next_expiry {
            Some(next) if next <= expires => {}
            Some(_) => self.shared.earlier.notify_one(),
            None => {
                state.next_expiry = Some(expires);
                tokio::spawn(reap(Arc::downgrade(&self.shared), self.shared.earlier.clone()));
            }
        }
    }

    /// After a reload: closes connections to upstreams that are gone, disabled or set up differently.
    pub fn keep_only(&self, upstreams: &[Arc<Upstream>]) {
        self.shared.close_unless(|idle| {
            let old = idle.connection.upstream();
            upstreams.iter().any(|new| new.enabled && new == old)
        });
    }

    /// Closes all connections to that upstream.
    pub fn discard(&self, upstream: &str) {
        self.shared.close_unless(|idle| idle.connection.upstream().name != upstream);
    }

    /// Waits until the connections to that upstream that are being closed are closed: a few seconds at most.
    pub async fn all_closed(&self, upstream: &str) {
        loop {
            let closed = self.shared.closed.notified();
            if !self.shared.lock().closing.contains_key(upstream) {
                return;
            }
            closed.await;
        }
    }

    /// Closes all of them with QUIT and waits for it (two seconds at most, all at the same time).
    pub async fn close(&self) {
        let all = std::mem::take(&mut self.shared.lock().idle);
        let mut closing = tokio::task::JoinSet::new();
        for idle in all.into_values().flatten() {
            closing.spawn(idle.connection.quit());
        }
        while closing.join_next().await.is_some() {}
    }

    /// Number of connections to that upstream that are idle.
    pub fn idle(&self, upstream: &str) -> usize {
        self.shared.lock().idle.get(upstream).map_or(0, Vec::len)
    }

    /// Number of idle connections.
    pub fn len(&self) -> usize {
        self.shared.lock().idle.values().map(Vec::len).sum()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PoolShared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_unless(self: &Arc<PoolShared>, stays: impl Fn(&Idle) -> bool) {
        let mut leaving = Vec::new();
        for idle in self.lock().idle.values_mut() {
            leaving.extend(idle.extract_if(.., |idle| !stays(idle)));
        }
        leaving.into_iter().for_each(|idle| self.close_in_background(idle.connection));
    }

    /// Says QUIT and closes it without making the caller wait.
    fn close_in_background(self: &Arc<PoolShared>, connection: Connection) {
        let closing = Closing::new(self, &connection.upstream().name);
        tokio::spawn(async move {
            connection.quit().await;
            drop(closing);
        });
    }

    /// Closes what has been idle too long. Returns when the next one will have been; none if nothing is idle.
    fn expire(self: &Arc<PoolShared>, now: Instant) -> Option<Instant> {
        self.close_unless(|idle| idle.expires() > now);
        let mut state = self.lock();
        let next = state.idle.values().flatten().map(Idle::expires).min();
        state.next_expiry = next;
        next
    }
}

/// A connection that is being closed. When it is dropped, the tasks in [`Pool::all_closed`] are woken.
struct Closing {
    shared: Arc<PoolShared>,
    upstream: String,
}

impl Closing {
    fn new(shared: &Arc<PoolShared>, upstream: &str) -> Closing {
        *shared.lock().closing.entry(upstream.to_owned()).or_default() += 1;
        Closing { shared: Arc::clone(shared), upstream: upstream.to_owned() }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(count) = state.closing.get_mut(&self.upstream) {
            *count -= 1;
            if *count == 0 {
                state.closing.remove(&self.upstream);
            }
        }
        drop(state);
        self.shared.closed.notify_waiters();
    }
}

/// Runs until nothing is idle or the pool is gone.
async fn reap(pool: Weak<PoolShared>, earlier: Arc<Notify>) {
    while let Some(next) = pool.upgrade().and_then(|shared| shared.expire(Instant::now())) {
        // Woken early or not: it looks again.
        let _ = timeout_at(next, earlier.notified()).await;
    }
}
