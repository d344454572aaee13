//! The listeners: bound before anything else changes, opened together, closed first.

use crate::config::settings::Listener;
use crate::smtp::{self, FrontDoor, Stopping};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// All ways in.
pub struct Doors {
    front: Arc<FrontDoor>,
    stopping: Stopping,
    open: Vec<Door>,
    /// Opened by systemd for us, with the address they are bound to.
    inherited: Vec<(SocketAddr, std::net::TcpListener)>,
}

struct Door {
    listener: Listener,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// Listeners that are bound and do not accept yet. Dropped unopened they are as if they had never been.
pub struct Bound<'a> {
    doors: &'a mut Doors,
    wanted: Vec<Listener>,
    sockets: Vec<(Listener, TcpListener)>,
}

impl Doors {
    /// None open yet.
    pub fn new(front: FrontDoor, inherited: Vec<(SocketAddr, std::net::TcpListener)>) -> Doors {
        Doors { front: Arc::new(front), stopping: Stopping::default(), open: Vec::new(), inherited }
    }

    /// Binds what is wanted and not open yet. With an error nothing has changed.
    pub fn bind(&mut self, wanted: &[Listener]) -> Result<Bound<'_>, String> {
        let mut sockets = Vec::new();
        for listener in wanted.iter().filter(|listener| !self.has(listener)) {
            let socket = match self.inherited.iter().find(|(address, _)| *address == listener.address) {
                Some((_, socket)) => socket.try_clone().and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    TcpListener::from_std(socket)
                }),
                None => bind(listener.address),
            };
            sockets.push((listener.clone(), socket.map_err(|error| explain(listener, &error))?));
        }
        Ok(Bound { doors: self, wanted: wanted.to_vec(), sockets })
    }

    /// What all of them share.
    pub fn front(&self) -> Arc<FrontDoor> {
        self.front.clone()
    }

    fn has(&self, listener: &Listener) -> bool {
        self.open
            .iter()
            .any(|door| door.listener.name == listener.name && door.listener.address == listener.address)
    }

    /// Where each listens.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open.iter().map(|door| (door.listener.name.clone(), door.address)).collect()
    }

    /// Sockets that were handed over and that no open listener is for: whoever connects there waits in vain.
    pub fn unused(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses = self.inherited.iter().map(|(address, _)| *address);
        addresses.filter(|address| !self.open.iter().any(|door| door.listener.address == *address))
    }

    /// No new sessions and transactions; those under way may finish until `end`, then they hear 421 and nothing of
    /// theirs is queued.
    pub async fn close(&mut self, end: Instant) {
        self.stopping.closing.cancel();
        self.stopping.sessions.close();
        if tokio::time::timeout_at(end, self.stopping.sessions.wait()).await.is_err() {
            self.stopping.grace_over.cancel();
            let _ = tokio::time::timeout(super::LAST_GASP, self.stopping.sessions.wait()).await;
        }
        self.open.clear();
    }
}

impl Bound<'_> {
    /// Accepts on the new ones and stops accepting on those no longer wanted; sessions that came in there go on.
    pub fn open(self) {
        let Bound { doors, wanted, sockets } = self;
        doors.open.retain(|door| {
            let stays = wanted
                .iter()
                .any(|one| one.name == door.listener.name && one.address == door.listener.address);
            if !stays {
                door.accepting.abort();
            }
            stays
        });
        for (listener, socket) in sockets {
            let address = socket.local_addr().unwrap_or(listener.address);
            let task = smtp::listen(doors.front.clone(), listener.clone(), socket, doors.stopping.clone());
            doors.open.push(Door { listener, address, accepting: tokio::spawn(task) });
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What is wrong and what to change (CASES G6).
fn explain(listener: &Listener, error: &io::Error) -> String {
    let Listener { name, address, .. } = listener;
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => {
            "only root may listen below port 1024: allow it with `setcap cap_net_bind_service=+ep` on the postroom binary, \
             let a systemd socket unit open the port, or choose another port such as 2525"
        }
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one of its own, or 0.0.0.0 for all"
        }
        _ => "name an address and port that can be listened on",
    };
    format!("listener.{name}.address: {address} cannot be listened on: {error}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // CASES G6
    #[test]
    fn who_may_not_have_port_25_is_told_three_ways_out() {
        let listener = Listener { name: "local".into(), address: ([127, 0, 0, 1], 25).into(), allow: vec![] };
        let text = explain(&listener, &ErrorKind::PermissionDenied.into());
        for word in ["listener.local.address", "127.0.0.1:25", "setcap", "systemd socket", "2525"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
