//! Idle connections, kept for the next message to the same upstream.
//!
//! Promise: what is taken out was, a moment ago, alive, young enough, not used up, and opened under the very settings
//! that are asked for. A server may still close it in that moment: see [`super::transaction::TroubleKind::Stale`].

use super::connection::Connection;
use crate::config::settings::Upstream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The idle connections of all upstreams. All methods but [`Pool::close`] must be called within a tokio runtime:
/// farewells are said in the background.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<String, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.connection.upstream().max_idle_time
    }
}

impl Pool {
    /// The connection to this upstream that was used last, if one is good. The others stay to grow too old.
    pub fn take(&self, upstream: &Upstream) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let mut idle = self.lock().get_mut(&upstream.name)?.pop()?;
            if idle.is_fresh(now) && same(idle.connection.upstream(), upstream) && idle.connection.is_alive()
            {
                return Some(idle.connection);
            }
            part(idle.connection);
        }
    }

    /// Keeps a connection for the next message, unless it is used up or cannot be used again.
    pub fn give_back(&self, connection: Connection) {
        let upstream = Arc::clone(connection.upstream());
        if !connection.is_reusable() || connection.transactions() >= upstream.messages_per_connection {
            return part(connection);
        }
        let idle = Idle { connection, since: Instant::now() };
        self.lock().entry(upstream.name.clone()).or_default().push(idle);
    }

    /// Parts with what has been idle for longer than its upstream's `max_idle_time`. To be called now and then.
    pub fn expire(&self, now: Instant) {
        self.part_unless(|idle| idle.is_fresh(now));
    }

    /// After a reload: parts with connections to upstreams that are gone, disabled or set up differently.
    pub fn keep_only(&self, upstreams: &[Arc<Upstream>]) {
        self.part_unless(|idle| {
            let old = idle.connection.upstream();
            upstreams.iter().any(|new| new.enabled && new.name == old.name && same(old, new))
        });
    }

    /// Says goodbye to all of them and waits for it (two seconds at most for each, all at once).
    pub async fn close(&self) {
        let all = std::mem::take(&mut *self.lock());
        let mut farewells = tokio::task::JoinSet::new();
        for idle in all.into_values().flatten() {
            farewells.spawn(idle.connection.quit());
        }
        while farewells.join_next().await.is_some() {}
    }

    /// Number of connections kept.
    pub fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part_unless(&self, stays: impl Fn(&Idle) -> bool) {
        for idle in self.lock().values_mut() {
            for old in idle.extract_if(.., |idle| !stays(idle)) {
                part(old.connection);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for a farewell.
fn part(connection: Connection) {
    tokio::spawn(connection.quit());
}

/// Whether a connection opened under `old` is what `new` would open. Every setting counts, also one that changes nothing
/// about a connection: a needless new one costs little, and none that is added later can be forgotten.
fn same(old: &Upstream, new: &Upstream) -> bool {
    std::ptr::eq(old, new) || old == new
}
