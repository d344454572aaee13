//! Leased messages on their way to the caller.

use super::super::{Claim, QueueError};
use super::due_key::DueKey;
use super::index_entries::IndexEntries;
use super::layout::MESSAGES;
use super::record;
use super::redb_error::queue_error;
use super::shared_queue::SharedQueue;
use super::stored::StoredMessage;
use crate::mail::{Message, QueueId};
use redb::ReadTransaction;
use std::sync::Arc;

/// Leased entries of the due index. Their records are not read yet.
pub(super) struct LeasedKeys {
    pub(super) snapshot: ReadTransaction,
    pub(super) entries: Vec<LeasedKey>,
}

pub(super) struct LeasedKey {
    pub(super) key: DueKey,
    pub(super) token: u64,
    pub(super) cached: Option<Arc<Message>>,
}

/// An entry of the due index whose record is missing or cannot be read; `what` is none if the record has another entry.
pub(super) struct UnreadableEntry {
    pub(super) key: DueKey,
    pub(super) what: Option<String>,
}

impl LeasedKeys {
    /// Reads the records; unreadable ones are returned apart. Where the file itself cannot be read, all leases end.
    pub(super) fn read(self, shared: &Arc<SharedQueue>) -> Result<LeasedClaims, QueueError> {
        let open = self.entries.iter().map(|entry| (entry.key.id, entry.token)).collect();
        let mut leased =
            LeasedClaims { shared: shared.clone(), open, claims: Vec::new(), unreadable: Vec::new() };
        (leased.claims, leased.unreadable) = self.read_all().map_err(queue_error)?;
        Ok(leased)
    }

    fn read_all(&self) -> Result<(Vec<Claim>, Vec<UnreadableEntry>), redb::Error> {
        let mut claims = Vec::with_capacity(self.entries.len());
        let mut unreadable = Vec::new();
        let messages = self.snapshot.open_table(MESSAGES)?;
        for LeasedKey { key, token, cached } in &self.entries {
            if let Some(message) = cached {
                claims.push(Claim { message: message.clone(), token: *token });
                continue;
            }
            let number = key.id.number();
            let stored = messages.get(number)?.map(|bytes| record::read_message(number, bytes.value()));
            match stored.unwrap_or_else(|| Err("its record is missing".to_owned())) {
                // No settlement would find this entry, so the message would be due again at once, again and again.
                Ok(stored) if !has_entry(&stored, *key) => {
                    unreadable.push(UnreadableEntry { key: *key, what: None });
                }
                Ok(stored) => claims.push(Claim { message: Arc::new(stored.message), token: *token }),
                Err(what) => unreadable.push(UnreadableEntry { key: *key, what: Some(what) }),
            }
        }
        Ok((claims, unreadable))
    }
}

/// Whether this is the entry that the record has to have.
fn has_entry(stored: &StoredMessage, key: DueKey) -> bool {
    IndexEntries::of(stored).and_then(|entries| entries.due).is_some_and(|(own, _)| own == key)
}

/// Claims on their way to the caller. If the caller was cancelled, this is dropped and the leases end.
pub(super) struct LeasedClaims {
    shared: Arc<SharedQueue>,
    open: Vec<(QueueId, u64)>,
    claims: Vec<Claim>,
    unreadable: Vec<UnreadableEntry>,
}

impl LeasedClaims {
    /// The claims and the unreadable entries, whose leases end.
    pub(super) fn take(mut self) -> (Vec<Claim>, Vec<UnreadableEntry>) {
        let (claims, unreadable) = (std::mem::take(&mut self.claims), std::mem::take(&mut self.unreadable));
        self.open.retain(|(id, _)| unreadable.iter().any(|one| one.key.id == *id));
        (claims, unreadable)
    }
}

impl Drop for LeasedClaims {
    fn drop(&mut self) {
        if !self.open.is_empty() {
            let mut state = self.shared.state();
            for (id, token) in &self.open {
                state.end_lease(*id, *token);
            }
        }
    }
}
