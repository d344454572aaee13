//! What all connections of this process share and learn from each other.

use super::tls::Tls;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Make one, and a new one whenever the configuration is loaded again: changed `tls_ca` files are read then, and
/// servers that were set right get another chance.
#[derive(Debug, Default)]
pub struct Known {
    pub(super) tls: Tls,
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
