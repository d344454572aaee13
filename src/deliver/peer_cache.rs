//! What connections learn of servers and share: TLS clients, addresses that work, servers without working PIPELINING,
//! mechanisms of AUTH that were accepted, folders that were used.

use super::oauth2::Tokens;
use super::tls::Tls;
use super::upstream_tls::UpstreamTls;
use crate::clock::{Clock, SystemClock};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The server makes a new one whenever the configuration is loaded again: changed `tls_ca` files are read then, and
/// PIPELINING is tried again.
pub struct PeerCache {
    pub(super) clock: Arc<dyn Clock>,
    /// Kept over reloads.
    tokens: Arc<Tokens>,
    /// Where it is told what TLS was agreed on; kept over reloads.
    pub(super) upstream_tls: Option<Arc<UpstreamTls>>,
    pub(super) tls: Arc<Tls>,
    pub(super) addresses: PreferredAddresses,
    broken_pipelining: Mutex<HashSet<String>>,
    /// The mechanism of AUTH that was accepted last, by upstream.
    mechanisms: Mutex<HashMap<String, &'static str>>,
    /// Pickup folders that were used, by upstream.
    used_folders: Mutex<HashSet<String>>,
}

impl Default for PeerCache {
    fn default() -> PeerCache {
        let clock = Arc::<SystemClock>::default();
        PeerCache::new(clock.clone(), Arc::new(Tokens::in_memory(clock)), None)
    }
}

impl PeerCache {
    /// Nothing is known yet.
    pub fn new(
        clock: Arc<dyn Clock>,
        tokens: Arc<Tokens>,
        upstream_tls: Option<Arc<UpstreamTls>>,
    ) -> PeerCache {
        PeerCache {
            clock,
            tokens,
            upstream_tls,
            tls: Arc::default(),
            addresses: PreferredAddresses::default(),
            broken_pipelining: Mutex::default(),
            mechanisms: Mutex::default(),
            used_folders: Mutex::default(),
        }
    }

    /// As new, but with what is kept over reloads.
    pub fn renewed(&self) -> PeerCache {
        PeerCache::new(self.clock.clone(), self.tokens.clone(), self.upstream_tls.clone())
    }

    pub(super) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Whether this upstream says PIPELINING and cannot do it (CASES F13).
    pub(super) fn pipelining_broken(&self, upstream: &str) -> bool {
        self.broken_pipelining.lock().unwrap_or_else(PoisonError::into_inner).contains(upstream)
    }

    /// The mechanism of AUTH that this upstream accepted last.
    pub(super) fn mechanism(&self, upstream: &str) -> Option<&'static str> {
        self.mechanisms.lock().unwrap_or_else(PoisonError::into_inner).get(upstream).copied()
    }

    pub(super) fn note_mechanism(&self, upstream: &str, mechanism: &'static str) {
        let mut mechanisms = self.mechanisms.lock().unwrap_or_else(PoisonError::into_inner);
        mechanisms.insert(upstream.to_owned(), mechanism);
    }

    /// Whether the folder of this upstream has not been used yet; from here on it has.
    pub(super) fn first_use_of(&self, upstream: &str) -> bool {
        self.used_folders.lock().unwrap_or_else(PoisonError::into_inner).insert(upstream.to_owned())
    }

    pub(super) fn note_pipelining_broken(&self, upstream: &str) {
        self.broken_pipelining.lock().unwrap_or_else(PoisonError::into_inner).insert(upstream.to_owned());
    }
}

/// Addresses that worked where the first one of their host did not, by upstream.
#[derive(Debug, Default)]
pub(super) struct PreferredAddresses(Mutex<HashMap<String, SocketAddr>>);

impl PreferredAddresses {
    pub(super) fn preferred(&self, upstream: &str) -> Option<SocketAddr> {
        self.lock().get(upstream).copied()
    }

    pub(super) fn prefer(&self, upstream: &str, address: SocketAddr) {
        self.lock().insert(upstream.to_owned(), address);
    }

    /// No session was possible there: the next connection uses the resolver's order.
    pub(super) fn forget(&self, upstream: &str) {
        self.lock().remove(upstream);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
