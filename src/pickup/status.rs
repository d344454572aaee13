//! What is wrong with the folders that mail is taken from.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Shared by those who work on the folders and those who are asked about them.
#[derive(Debug, Default)]
pub struct PickupStatus(Mutex<BTreeMap<String, String>>);

impl PickupStatus {
    /// By the name of the pickup, what keeps it from being emptied; those that work are not among them.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says so of one, or that nothing is wrong with it. Returns what was wrong before.
    pub(super) fn set(&self, name: &str, trouble: Option<&str>) -> Option<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(text) => all.insert(name.to_owned(), text.to_owned()),
            None => all.remove(name),
        }
    }
}
