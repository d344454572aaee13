//! How many sessions there may be: in all and for one client. A session holds its permit and gives it back by
//! dropping it, so that no way out of a session forgets to.

use super::reply::Reply;
use crate::config::settings::Limits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The permits that are out.
#[derive(Debug, Default)]
pub struct Permits(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The right to a session.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    client: IpAddr,
}

impl Permits {
    /// A permit under the limits that are in force now, or what the client is told. Loopback is exempt from
    /// `connections_per_client`.
    pub fn admit(self: &Arc<Self>, client: IpAddr, limits: &Limits) -> Result<Permit, Reply> {
        let mut counts = self.lock();
        if counts.all >= limits.connections {
            return Err(Reply::new(
                421,
                7,
                0,
                "too many sessions: try again later, or raise `connections` under [limits]",
            ));
        }
        if !client.is_loopback() {
            let own = counts.by_client.entry(client).or_default();
            if *own >= limits.connections_per_client {
                return Err(Reply::new(
                    421,
                    7,
                    0,
                    "too many sessions from this address: use fewer, or raise `connections_per_client` under [limits]",
                ));
            }
            *own += 1;
        }
        counts.all += 1;
        Ok(Permit { permits: self.clone(), client })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
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
        let permits = Arc::new(Permits::default());
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
