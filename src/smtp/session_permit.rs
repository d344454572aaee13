//! How many sessions there may be: in all and for one client. A session holds its permit and gives it back by dropping it,
//! however it ends.

use super::reply::{self, ReplyToClient};
use crate::config::settings::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sessions that there are.
#[derive(Debug, Default)]
pub(super) struct SessionPermits(Mutex<SessionCounts>);

#[derive(Debug, Default)]
struct SessionCounts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The right to a session.
#[derive(Debug)]
pub(super) struct SessionPermit {
    permits: Arc<SessionPermits>,
    client: IpAddr,
}

impl SessionPermits {
    /// A permit under the limits that are in force now, or the reply to a client that gets none. Loopback is exempt from
    /// `connections_per_client`.
    pub(super) fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<SessionPermit, ReplyToClient> {
        let mut counts = self.lock();
        if counts.all >= limits.connections {
            return Err(reply::TOO_MANY_SESSIONS);
        }
        if !client.is_loopback() {
            let own = counts.by_client.entry(client).or_default();
            if *own >= limits.connections_per_client {
                return Err(reply::TOO_MANY_SESSIONS_OF_CLIENT);
            }
            *own += 1;
        }
        counts.all += 1;
        Ok(SessionPermit { permits: self.clone(), client })
    }

    fn lock(&self) -> MutexGuard<'_, SessionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        let mut counts = self.permits.lock();
        counts.all -= 1;
        if let Some(own) = counts.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::BareNewline;
    use std::time::Duration;

    #[test]
    fn permits_run_out_and_come_back() {
        let limits = Limits {
            message_size: 0,
            recipients: 0,
            connections: 3,
            connections_per_client: 1,
            command_timeout: Duration::ZERO,
            data_timeout: Duration::ZERO,
            received_hops: 0,
            errors_per_session: 0,
            content_memory: 0,
            bare_newline: BareNewline::Reject,
        };
        let permits = Arc::new(SessionPermits::default());
        let (far, near) = ("192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap());
        let first = permits.admit(far, &limits).unwrap();
        assert_eq!(permits.admit(far, &limits).unwrap_err().code, 421);
        let second = (permits.admit(near, &limits).unwrap(), permits.admit(near, &limits).unwrap());
        assert_eq!(permits.admit(near, &limits).unwrap_err().code, 421);
        drop(first);
        let again = permits.admit(far, &limits).unwrap();
        drop((second, again));
        assert_eq!(permits.lock().all, 0);
        assert!(permits.lock().by_client.is_empty());
    }
}
