//! Transactions that have been begun with an upstream and not ended: a reload that changes a mode cannot call them back.

use crate::config::Settings;
use crate::mail::QueueId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A transaction that has been begun and not ended.
#[derive(Clone, Debug)]
pub struct TransactionUnderWay {
    pub queue_id: QueueId,
    /// Its site; empty: none.
    pub site: String,
    pub upstream: String,
    /// Those that its attempt began under.
    pub settings: Arc<Settings>,
}

/// All of them.
///
/// A transaction is noted here before it looks whether the settings are still those it was planned under, and only then sends
/// MAIL. So a reload that reads this list after it has put its settings in force misses none that goes on under the old ones.
#[derive(Clone, Default)]
pub struct TransactionsUnderWay(Arc<Mutex<BTreeMap<QueueId, TransactionUnderWay>>>);

impl TransactionsUnderWay {
    /// All of them now.
    pub fn list(&self) -> Vec<TransactionUnderWay> {
        self.lock().values().cloned().collect()
    }

    /// That of this message, if there is one.
    pub fn of(&self, id: QueueId) -> Option<TransactionUnderWay> {
        self.lock().get(&id).cloned()
    }

    /// Notes one, until the guard is dropped. A message has one at a time.
    pub(super) fn begin(&self, transaction: TransactionUnderWay) -> TransactionGuard {
        let id = transaction.queue_id;
        self.lock().insert(id, transaction);
        TransactionGuard { all: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QueueId, TransactionUnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its transaction has ended when this is dropped.
pub(super) struct TransactionGuard {
    all: TransactionsUnderWay,
    id: QueueId,
}

impl Drop for TransactionGuard {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}
