//! The listeners: opened together, changed by a reload without turning anybody away, closed first.

use crate::config::settings::Listener;
use crate::smtp::{self, FrontDoor, Stopping};
use std::collections::BTreeMap;
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
    /// Bound to; the port is known here where the listener has port 0.
    address: SocketAddr,
    socket: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

/// By the name of a wanted listener, the name of the open door whose socket is for it.
type Kept = BTreeMap<String, String>;

impl Doors {
    /// None open yet.
    pub fn new(front: FrontDoor, inherited: Vec<(SocketAddr, std::net::TcpListener)>) -> Doors {
        Doors { front: Arc::new(front), stopping: Stopping::default(), open: Vec::new(), inherited }
    }

    /// Opens what is wanted and not open yet, and closes the rest; sessions that came in there go on. A socket whose
    /// address is wanted under another name is handed over, so that no client is turned away meanwhile.
    ///
    /// # Errors
    /// In words, with what to change, where an address cannot be listened on. Then all is as it was: what was closed
    /// because it was in the way is bound again, and where another program was faster the error says so.
    pub async fn change(&mut self, wanted: &[Listener]) -> Result<(), String> {
        let kept = self.kept(wanted);
        let (mut fresh, mut blocked) = (Vec::new(), Vec::new());
        for listener in wanted.iter().filter(|listener| !kept.contains_key(&listener.name)) {
            match self.socket_for(listener.address) {
                Ok(socket) => fresh.push((listener.clone(), socket)),
                Err(error) if error.kind() == ErrorKind::AddrInUse && self.is_blocked(listener, &kept) => {
                    blocked.push(listener.clone());
                }
                Err(error) => return Err(explain(listener, &error)),
            }
        }
        fresh.extend(self.bind_in_place_of_unwanted(blocked, &kept).await?);
        for door in std::mem::take(&mut self.open) {
            match wanted.iter().find(|one| kept.get(&one.name) == Some(&door.listener.name)) {
                None => drop(self.shut(door).await),
                Some(same) if same.name == door.listener.name => {
                    self.open.push(Door { listener: same.clone(), ..door });
                }
                Some(renamed) => {
                    let Door { socket, accepting, .. } = door;
                    end(accepting).await;
                    self.serve(renamed.clone(), socket);
                }
            }
        }
        for (listener, socket) in fresh {
            self.serve(listener, socket.into());
        }
        Ok(())
    }

    /// What all of them share.
    pub fn front(&self) -> Arc<FrontDoor> {
        self.front.clone()
    }

    /// Whose name and address are the same first, then whose address is.
    fn kept(&self, wanted: &[Listener]) -> Kept {
        let mut kept = Kept::new();
        for named in [true, false] {
            for one in wanted {
                let fits = |door: &&Door| {
                    door.listener.address == one.address && (!named || door.listener.name == one.name)
                };
                let mut free = self.open.iter().filter(|door| is_unwanted(door, &kept));
                if !kept.contains_key(&one.name)
                    && let Some(door) = free.find(fits)
                {
                    kept.insert(one.name.clone(), door.listener.name.clone());
                }
            }
        }
        kept
    }

    /// Whether it may be a door of ours that keeps the listener's address from being bound, one that is to be closed.
    fn is_blocked(&self, listener: &Listener, kept: &Kept) -> bool {
        let port = listener.address.port();
        self.open.iter().any(|door| door.address.port() == port && is_unwanted(door, kept))
    }

    /// Binds what doors that are to be closed are in the way of, by closing them first.
    async fn bind_in_place_of_unwanted(
        &mut self,
        blocked: Vec<Listener>,
        kept: &Kept,
    ) -> Result<Vec<(Listener, TcpListener)>, String> {
        let blocks = |door: &Door| {
            is_unwanted(door, kept) && blocked.iter().any(|one| one.address.port() == door.address.port())
        };
        let (going, staying) = std::mem::take(&mut self.open).into_iter().partition(blocks);
        self.open = staying;
        let mut gone = Vec::new();
        for door in Vec::<Door>::into_iter(going) {
            gone.push(self.shut(door).await);
        }
        let (mut bound, mut failed) = (Vec::new(), None);
        for listener in blocked {
            match self.socket_for(listener.address) {
                Ok(socket) => bound.push((listener, socket)),
                Err(error) => failed = failed.or(Some(explain(&listener, &error))),
            }
        }
        let Some(mut failed) = failed else { return Ok(bound) };
        drop(bound);
        for (listener, address) in gone {
            match self.socket_for(address) {
                Ok(socket) => self.serve(listener, socket.into()),
                Err(error) => {
                    let name = &listener.name;
                    failed += &format!(
                        "; listener {name} is closed now, because {address} could not be taken back: {error}; free it and \
                         reload again"
                    );
                }
            }
        }
        Err(failed)
    }

    /// A socket that systemd has opened for us, else one of our own.
    fn socket_for(&self, address: SocketAddr) -> io::Result<TcpListener> {
        match self.inherited.iter().find(|(inherited, _)| *inherited == address) {
            Some((_, socket)) => {
                let socket = socket.try_clone()?;
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            }
            None => bind(address),
        }
    }

    fn serve(&mut self, listener: Listener, socket: Arc<TcpListener>) {
        let address = socket.local_addr().unwrap_or(listener.address);
        let task = smtp::listen(self.front.clone(), listener.clone(), socket.clone(), self.stopping.clone());
        self.open.push(Door { listener, address, socket, accepting: tokio::spawn(task) });
    }

    /// Closes it; its address is free afterwards. Whoever has connected is served all the same.
    async fn shut(&self, door: Door) -> (Listener, SocketAddr) {
        end(door.accepting).await;
        smtp::welcome_waiting(&self.front, &door.listener, &door.socket, &self.stopping);
        (door.listener, door.address)
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
        self.front.tell_all_refusals();
        self.open.clear();
    }
}

fn is_unwanted(door: &Door, kept: &Kept) -> bool {
    !kept.values().any(|name| *name == door.listener.name)
}

/// Ends the task and waits until it has let go of its socket. It ends between two clients: each is a task of its own.
async fn end(accepting: JoinHandle<()>) {
    accepting.abort();
    let _ = accepting.await;
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
        let listener = Listener {
            name: "local".into(),
            address: ([127, 0, 0, 1], 25).into(),
            allow: vec![],
            site: None,
            class: None,
        };
        let text = explain(&listener, &ErrorKind::PermissionDenied.into());
        for word in ["listener.local.address", "127.0.0.1:25", "setcap", "systemd socket", "2525"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
