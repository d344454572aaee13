//! Passwords are held against their hashes on threads of their own, few at once: thousands of tries slow down nobody else's work
//! and take little memory.

use super::password::StoredPassword;
use super::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// So long a password waits to be checked at most.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets so many hashes be computed at the same time.
pub struct PasswordHashing(Arc<Semaphore>);

impl PasswordHashing {
    /// A hash takes 19 MiB and some tens of milliseconds of a processor.
    pub fn new(at_once: usize) -> PasswordHashing {
        PasswordHashing(Arc::new(Semaphore::new(at_once)))
    }

    /// Knows of no password in time.
    #[cfg(test)]
    pub(crate) fn out_of_time() -> PasswordHashing {
        let hashing = PasswordHashing::new(0);
        hashing.0.close();
        hashing
    }

    /// As [`StoredPassword::verify_hash`]. None: not known in time.
    pub async fn verify(
        &self,
        stored: Option<StoredPassword>,
        like: Option<StoredPassword>,
        password: Secret,
    ) -> Option<bool> {
        let permit = tokio::time::timeout(CHECK_TIMEOUT, self.0.clone().acquire_owned()).await.ok()?.ok()?;
        let verifying = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            StoredPassword::verify_hash(stored.as_ref(), like.as_ref(), &password)
        });
        verifying.await.ok()
    }
}
