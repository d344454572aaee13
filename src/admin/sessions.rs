//! Who is logged in. In memory alone: a restart ends all sessions.

use crate::clock::Clock;
use crate::config::password::StoredPassword;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Beyond, the session that was used longest ago ends.
const MAX_SESSIONS: usize = 1000;
/// A session ends after so long without a request.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// And after so long in any case.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const RANDOM_BYTES: usize = 32;

/// 256 random bits, as text for a cookie, a header or a link. None: the system gives no random numbers.
pub(super) fn random_text() -> Option<String> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret, so that finding it tells nothing by the time that it takes.
pub(super) fn fingerprint(secret: &str) -> [u8; 32] {
    let mut kept = [0; 32];
    kept.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    kept
}

/// One who has logged in.
pub(super) struct LoginSession {
    id: [u8; 32],
    /// What a request that changes something has to know beside the cookie.
    pub(super) csrf_token: String,
    /// The password in force when it began: with another one it ends.
    password: Option<StoredPassword>,
    began: Duration,
    /// Cancelled when it ends.
    pub(super) ended: CancellationToken,
}

/// By the fingerprint of the id, with the time of the last request.
type SessionsInUse = HashMap<[u8; 32], (Arc<LoginSession>, Duration)>;

/// All of them.
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    all: Mutex<SessionsInUse>,
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Sessions {
        Sessions { clock, all: Mutex::default() }
    }

    /// A new one: its id, which only the client has. None: the system gives no random numbers.
    pub(super) fn begin(&self, password: Option<StoredPassword>) -> Option<String> {
        let (id, csrf_token) = (random_text()?, random_text()?);
        let now = self.clock.monotonic();
        let session = LoginSession {
            id: fingerprint(&id),
            csrf_token,
            password,
            began: now,
            ended: CancellationToken::new(),
        };
        let mut all = self.lock();
        all.retain(|_, (session, used)| session.goes_on(now, *used));
        if all.len() >= MAX_SESSIONS {
            let oldest = all.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            oldest.and_then(|oldest| all.remove(&oldest)).into_iter().for_each(|(old, _)| old.ended.cancel());
        }
        all.insert(session.id, (Arc::new(session), now));
        Some(id)
    }

    /// The session of that id, which is used now. None: there is none, or it is over.
    pub(super) fn find(&self, id: &str, password: Option<&StoredPassword>) -> Option<Arc<LoginSession>> {
        let (now, id) = (self.clock.monotonic(), fingerprint(id));
        let mut all = self.lock();
        let (session, used) = all.get_mut(&id)?;
        if session.goes_on(now, *used) && session.password.as_ref() == password {
            *used = now;
            return Some(session.clone());
        }
        session.ended.cancel();
        all.remove(&id);
        None
    }

    /// Whether it goes on with this password, for what was begun in it.
    pub(super) fn goes_on(&self, session: &LoginSession, password: Option<&StoredPassword>) -> bool {
        session.password.as_ref() == password && self.lock().contains_key(&session.id)
    }

    /// It is over.
    pub(super) fn end(&self, session: &LoginSession) {
        session.ended.cancel();
        self.lock().remove(&session.id);
    }

    fn lock(&self) -> MutexGuard<'_, SessionsInUse> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoginSession {
    fn goes_on(&self, now: Duration, used: Duration) -> bool {
        let is_new = |since: Duration, most: Duration| now.saturating_sub(since) < most;
        is_new(used, IDLE) && is_new(self.began, LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use jiff::Timestamp;

    fn sessions() -> (Arc<ManualClock>, Sessions) {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        (clock.clone(), Sessions::new(clock))
    }

    #[test]
    fn a_session_is_found_by_its_id_alone() {
        let (_, sessions) = sessions();
        let (one, other) = (sessions.begin(None).unwrap(), sessions.begin(None).unwrap());
        assert!(one != other && one.len() == 43, "256 bits: {one}");
        let session = sessions.find(&one, None).unwrap();
        assert_ne!(session.csrf_token, sessions.find(&other, None).unwrap().csrf_token);
        assert!(sessions.find("", None).is_none() && sessions.find(&one[1..], None).is_none());
        sessions.end(&session);
        assert!(sessions.find(&one, None).is_none() && session.ended.is_cancelled());
        assert!(sessions.find(&other, None).is_some());
    }

    #[test]
    fn it_ends_when_it_is_idle_and_after_a_day_in_any_case() {
        let (clock, sessions) = sessions();
        let idle = sessions.begin(None).unwrap();
        let used = sessions.begin(None).unwrap();
        for _ in 0..23 {
            clock.advance(Duration::from_secs(3600));
            assert!(sessions.find(&used, None).is_some());
        }
        assert!(sessions.find(&idle, None).is_none());
        clock.advance(Duration::from_secs(3600));
        assert!(sessions.find(&used, None).is_none());
    }

    #[test]
    fn another_password_ends_it() {
        let (_, sessions) = sessions();
        let password = |text: &str| Some(StoredPassword::Plain(text.to_owned().into()));
        let id = sessions.begin(password("one")).unwrap();
        let session = sessions.find(&id, password("one").as_ref()).unwrap();
        assert!(!sessions.goes_on(&session, password("two").as_ref()));
        assert!(!sessions.goes_on(&session, None));
        assert!(sessions.find(&id, password("two").as_ref()).is_none());
        assert!(sessions.find(&id, password("one").as_ref()).is_none(), "it does not come back");
    }

    #[test]
    fn there_are_a_thousand_at_most() {
        let (clock, sessions) = sessions();
        let ids: Vec<String> = (0..MAX_SESSIONS + 1)
            .map(|_| {
                clock.advance(Duration::from_millis(1));
                sessions.begin(None).unwrap()
            })
            .collect();
        assert!(sessions.find(&ids[0], None).is_none());
        assert!(ids[1..].iter().all(|id| sessions.find(id, None).is_some()));
    }
}
