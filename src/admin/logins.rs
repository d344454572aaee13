//! Logging in over TCP: by the password, or by a link that works once.
//!
//! A wrong password costs a hash, also where the password is stored as it is, or where there is none.

use super::login_limit::LoginLimit;
use super::notices::Notices;
use super::sessions::{Sessions, fingerprint, random_text};
use crate::clock::Clock;
use crate::config::Secret;
use crate::config::password::StoredPassword;
use crate::config::password_hashing::PasswordHashing;
use crate::event::{EventType, Fact, code};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// Beyond, a reader is told to come back later.
pub(super) const MAX_STREAMS: usize = 1000;

/// From an event of a wrong password to the next, at least.
const BETWEEN_EVENTS: Duration = Duration::from_secs(60);

/// Large bodies that are read at the same time.
const LARGE_BODIES: usize = 32;

/// Who is logged in, who may try to, and how many follow events.
pub(crate) struct Logins {
    clock: Arc<dyn Clock>,
    pub(super) sessions: Sessions,
    hashing: PasswordHashing,
    limit: Mutex<LoginLimit>,
    /// For event streams.
    pub(super) streams: Arc<Semaphore>,
    /// For bodies of requests that take much memory.
    pub(super) large_bodies: Semaphore,
    /// When an event has told of a wrong password last.
    told: Mutex<Option<Duration>>,
    /// What forms send where there is no password, and so no session.
    pub(super) csrf_token: Option<String>,
    /// For pages.
    pub(super) notices: Notices,
    /// The fingerprint of what logs in once.
    token: Mutex<Option<[u8; 32]>>,
}

/// Why somebody is not logged in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LoginRefused {
    Wrong,
    /// There were too many wrong ones before: nobody has looked at this one.
    TooMany(Duration),
    /// It could not be checked in time.
    NotChecked,
}

impl Logins {
    /// Nobody is logged in.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Logins {
        Logins {
            sessions: Sessions::new(clock.clone()),
            // Beside mail, which has hashes of its own.
            hashing: PasswordHashing::new(1),
            limit: Mutex::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            large_bodies: Semaphore::new(LARGE_BODIES),
            told: Mutex::default(),
            csrf_token: random_text(),
            notices: Notices::default(),
            token: Mutex::default(),
            clock,
        }
    }

    /// Logs in with the password: the id of the new session.
    pub(super) async fn by_password(
        &self,
        client: IpAddr,
        stored: Option<&StoredPassword>,
        said: Secret,
    ) -> Result<String, LoginRefused> {
        self.limit().take(self.clock.monotonic(), client).map_err(LoginRefused::TooMany)?;
        let is_equal = stored.is_some_and(|stored| stored.equals(&said));
        if !is_equal
            && !self.hashing.verify(stored.cloned(), None, said).await.ok_or(LoginRefused::NotChecked)?
        {
            // So many at most as the limit lets through.
            tracing::warn!(%client, "a wrong password at the admin listener");
            return Err(LoginRefused::Wrong);
        }
        self.limit().give_back(client);
        self.sessions.begin(stored.cloned()).ok_or(LoginRefused::NotChecked)
    }

    /// The event that tells of a wrong password: one a minute, so that whoever guesses does not push others out. The log has all.
    pub(super) fn wrong_password(&self, client: IpAddr) -> Option<Fact> {
        let now = self.clock.monotonic();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| now < told + BETWEEN_EVENTS) {
            return None;
        }
        *told = Some(now);
        let text = format!(
            "client {client} gave a wrong password at the admin listener; further ones within a minute are in the log alone"
        );
        Some(Fact::new(self.clock.wall(), EventType::Warning, "Listener", code::REFUSED, text))
    }

    /// What logs in once, without the password, in place of any that was made before. None: the system gives no random numbers.
    pub(super) fn new_token(&self) -> Option<String> {
        let token = random_text()?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint(&token));
        Some(token)
    }

    /// Logs in with it: the id of the new session.
    pub(super) fn by_token(
        &self,
        client: IpAddr,
        stored: Option<&StoredPassword>,
        said: &str,
    ) -> Result<String, LoginRefused> {
        self.limit().take(self.clock.monotonic(), client).map_err(LoginRefused::TooMany)?;
        let is_right =
            |token: &mut [u8; 32]| -> bool { token.as_slice().ct_eq(fingerprint(said).as_slice()).into() };
        let used = self.token.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_right);
        used.ok_or(LoginRefused::Wrong)?;
        self.limit().give_back(client);
        self.sessions.begin(stored.cloned()).ok_or(LoginRefused::NotChecked)
    }

    fn limit(&self) -> MutexGuard<'_, LoginLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::password;
    use jiff::Timestamp;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn logins() -> Logins {
        Logins::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)))
    }

    fn stored() -> [Option<StoredPassword>; 3] {
        let hash = password::hash("right").unwrap();
        [
            None,
            Some(StoredPassword::Plain("right".to_owned().into())),
            Some(StoredPassword::Hash(hash.into())),
        ]
    }

    async fn said(
        logins: &Logins,
        stored: Option<&StoredPassword>,
        said: &str,
    ) -> Result<String, LoginRefused> {
        logins.by_password(CLIENT, stored, said.to_owned().into()).await
    }

    /// Where no hash can be computed no answer is known: so one is computed.
    #[tokio::test]
    async fn a_wrong_password_costs_a_hash_whatever_is_stored() {
        for stored in &stored() {
            let logins = Logins { hashing: PasswordHashing::out_of_time(), ..logins() };
            for wrong in ["", "wrong", "righ", "rights"] {
                assert_eq!(
                    said(&logins, stored.as_ref(), wrong).await,
                    Err(LoginRefused::NotChecked),
                    "{wrong}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_right_password_begins_a_session_and_where_there_is_none_none_is_right() {
        let [none, plain, hash] = &stored();
        for stored in [plain, hash] {
            let logins = logins();
            let id = said(&logins, stored.as_ref(), "right").await.unwrap();
            assert!(logins.sessions.find(&id, stored.as_ref()).is_some());
            assert_eq!(said(&logins, stored.as_ref(), "wrong").await, Err(LoginRefused::Wrong));
        }
        assert_eq!(said(&logins(), none.as_ref(), "").await, Err(LoginRefused::Wrong));
    }

    #[tokio::test]
    async fn a_token_logs_in_once_and_the_next_one_takes_its_place() {
        let logins = logins();
        assert_eq!(logins.by_token(CLIENT, None, "").unwrap_err(), LoginRefused::Wrong);
        let (old, new) = (logins.new_token().unwrap(), logins.new_token().unwrap());
        assert_eq!(logins.by_token(CLIENT, None, &old).unwrap_err(), LoginRefused::Wrong);
        let id = logins.by_token(CLIENT, None, &new).unwrap();
        assert!(logins.sessions.find(&id, None).is_some());
        assert_eq!(logins.by_token(CLIENT, None, &new).unwrap_err(), LoginRefused::Wrong);
    }
}
