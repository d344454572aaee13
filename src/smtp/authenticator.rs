//! Whether a client is who it says it is.
//!
//! # Promises
//! - A wrong password, an unknown user and a user without a hash cost the same time and get the same answer.
//! - Hashes are computed on threads of their own, few at once, so that thousands of tries slow down nobody else's mail and
//!   take little memory.
//! - A client that has given the right password for that name before does not wait behind the tries of others.

use super::auth_exchange::SentCredentials;
use super::failed_logins::FailedLogins;
use super::session_context::SessionContext;
use crate::clock::Clock;
use crate::config::password::StoredPassword;
use crate::config::password_hashing::PasswordHashing;
use crate::config::settings::InboundAuth;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Checks passwords for all sessions.
pub(super) struct Authenticator {
    clock: Arc<dyn Clock>,
    hashing: PasswordHashing,
    /// The same for clients that have given the right password for that name before.
    hashing_for_proven: PasswordHashing,
    failed: Mutex<FailedLogins>,
}

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthResult {
    /// They are right.
    Accepted,
    /// They are wrong; the reply waits so long.
    Refused(Duration),
    /// Nobody looked at them: there were too many wrong ones before.
    TooMany,
    /// They could not be checked in time.
    NotChecked,
}

impl AuthResult {
    /// For counting.
    pub(super) fn word(self) -> &'static str {
        match self {
            AuthResult::Accepted => "accepted",
            AuthResult::Refused(_) => "refused",
            AuthResult::TooMany => "too_many",
            AuthResult::NotChecked => "not_checked",
        }
    }
}

impl Authenticator {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Authenticator {
        // Half of the processors stay for those who have shown who they are; each hash takes 19 MiB.
        let at_once = std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).clamp(1, 4));
        Authenticator {
            clock,
            hashing: PasswordHashing::new(at_once),
            hashing_for_proven: PasswordHashing::new(1),
            failed: Mutex::default(),
        }
    }

    /// Checks what a client said.
    pub(super) async fn check(&self, context: &SessionContext, said: &SentCredentials) -> AuthResult {
        let client = context.client;
        if self.lock().are_too_many(self.clock.monotonic(), client, &said.name) {
            return AuthResult::TooMany;
        }
        let is_right = match (said.are_plausible(), context.listener.auth) {
            (false, _) => Some(false),
            (true, InboundAuth::Any) => return AuthResult::Accepted,
            (true, _) => self.is_right(context, said).await,
        };
        match is_right {
            None => AuthResult::NotChecked,
            Some(true) => {
                self.lock().succeeded(client, &said.name);
                AuthResult::Accepted
            }
            Some(false) => {
                // A name that can be nobody's is not worth a place.
                let name = if said.are_plausible() { said.name.as_str() } else { "" };
                AuthResult::Refused(self.lock().add(self.clock.monotonic(), client, name))
            }
        }
    }

    /// None: not known in time.
    async fn is_right(&self, context: &SessionContext, said: &SentCredentials) -> Option<bool> {
        let users = &context.settings.users;
        let stored = users.get(&said.name).map(|user| &user.password);
        if stored.is_some_and(|stored| stored.equals(&said.password)) {
            return Some(true);
        }
        let is_hash = |stored: &&StoredPassword| matches!(stored, StoredPassword::Hash(_));
        let like = users.values().map(|user| &user.password).find(is_hash);
        let hashing = match self.lock().is_proven(context.client, &said.name) {
            true => &self.hashing_for_proven,
            false => &self.hashing,
        };
        hashing.verify(stored.cloned(), like.cloned(), said.password.clone()).await
    }

    fn lock(&self) -> MutexGuard<'_, FailedLogins> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
