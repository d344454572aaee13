//! What all connections of this process share and learn from each other.

use super::tls::Tls;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Make one, and a new one whenever the configuration is loaded again: changed `tls_ca` files are read then, and
/// servers that were set right get another chance.
#[derive(Debug, Default)]
pub struct Known {
    pub(super) tls: Tls,
    pub(super) peers: PeerCache,
    lost_step: Mutex<HashSet<String>>,
}

impl Known {
    /// Whether this upstream says PIPELINING and cannot do it (CASES F13).
    pub(super) fn loses_step(&self, upstream: &str) -> bool {
        self.lost_step.lock().unwrap_or_else(PoisonError::into_inner).contains(upstream)
    }

    pub(super) fn note_lost_step(&self, upstream: &str) {
        self.lost_step.lock().unwrap_or_else(PoisonError::into_inner).insert(upstream.to_owned());
    }
}

/// Addresses that worked where the first one of their host did not, by upstream.
#[derive(Debug, Default)]
pub(super) struct PeerCache(Mutex<HashMap<String, SocketAddr>>);

impl PeerCache {
    pub(super) fn preferred(&self, upstream: &str) -> Option<SocketAddr> {
        self.lock().get(upstream).copied()
    }

    pub(super) fn prefer(&self, upstream: &str, address: SocketAddr) {
        self.lock().insert(upstream.to_owned(), address);
    }

    /// No session came about: the resolver's order is as good.
    pub(super) fn forget(&self, upstream: &str) {
        self.lock().remove(upstream);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
