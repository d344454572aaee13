//! The listeners: opened together, changed by a reload without refusing a client meanwhile, stopped first.

use super::sockets::{Sockets, explain};
use crate::config::settings::Listener;
use crate::smtp::{self, Shutdown, SmtpServer};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// All listeners of the server, with their sockets.
pub(super) struct Listeners {
    smtp_server: Arc<SmtpServer>,
    shutdown: Shutdown,
    open: Vec<OpenListener>,
    sockets: Arc<Sockets>,
}

struct OpenListener {
    listener: Listener,
    /// What the socket is bound to: with the real port, where the listener asks for port 0.
    address: SocketAddr,
    socket: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

/// By the name of a wanted listener, the name of the open one whose socket it gets.
type KeptSockets = BTreeMap<String, String>;

impl Listeners {
    /// None open yet.
    pub(super) fn new(smtp_server: SmtpServer, sockets: Arc<Sockets>) -> Listeners {
        Listeners {
            smtp_server: Arc::new(smtp_server),
            shutdown: Shutdown::default(),
            open: Vec::new(),
            sockets,
        }
    }

    /// Opens the wanted listeners that are not open yet, and closes the others; sessions that came in there go on. A socket
    /// whose address is wanted under another name goes to the listener of that name, so that no client is refused meanwhile.
    ///
    /// # Errors
    /// In words, with what to change, where an address cannot be listened on. Then all is as it was: listeners that were
    /// closed because a new one needed their port are opened again; where another program has taken the port meanwhile, the
    /// error says so.
    pub(super) async fn change(&mut self, wanted: &[Listener]) -> Result<(), String> {
        let kept = self.kept(wanted);
        let (mut fresh, mut blocked) = (Vec::new(), Vec::new());
        for listener in wanted.iter().filter(|listener| !kept.contains_key(&listener.name)) {
            match self.sockets.open(listener.address) {
                Ok(socket) => fresh.push((listener.clone(), socket)),
                Err(error) if error.kind() == ErrorKind::AddrInUse && self.is_blocked(listener, &kept) => {
                    blocked.push(listener.clone());
                }
                Err(error) => return Err(explain(&key_of(listener), listener.address, &error)),
            }
        }
        fresh.extend(self.bind_in_place_of_unwanted(blocked, &kept).await?);
        for open in std::mem::take(&mut self.open) {
            match wanted.iter().find(|one| kept.get(&one.name) == Some(&open.listener.name)) {
                None => drop(self.close_one(open).await),
                Some(same) if same.name == open.listener.name => {
                    self.open.push(OpenListener { listener: same.clone(), ..open });
                }
                Some(renamed) => {
                    let OpenListener { socket, accepting, .. } = open;
                    stop_accepting(accepting).await;
                    self.serve(renamed.clone(), socket);
                }
            }
        }
        for (listener, socket) in fresh {
            self.serve(listener, socket.into());
        }
        Ok(())
    }

    /// What their sessions share.
    pub(super) fn smtp_server(&self) -> Arc<SmtpServer> {
        self.smtp_server.clone()
    }

    /// Which open listeners go on: first those that are wanted with name and address, then those whose address is wanted.
    fn kept(&self, wanted: &[Listener]) -> KeptSockets {
        let mut kept = KeptSockets::new();
        for named in [true, false] {
            for one in wanted {
                let fits = |open: &&OpenListener| {
                    open.listener.address == one.address && (!named || open.listener.name == one.name)
                };
                let mut free = self.open.iter().filter(|open| is_unwanted(open, &kept));
                if !kept.contains_key(&one.name)
                    && let Some(open) = free.find(fits)
                {
                    kept.insert(one.name.clone(), open.listener.name.clone());
                }
            }
        }
        kept
    }

    /// Whether the listener's port may be in use by an open listener of ours that is about to be closed.
    fn is_blocked(&self, listener: &Listener, kept: &KeptSockets) -> bool {
        let port = listener.address.port();
        self.open.iter().any(|open| open.address.port() == port && is_unwanted(open, kept))
    }

    /// Binds the addresses whose ports are in use by listeners that are about to be closed, and closes those before.
    async fn bind_in_place_of_unwanted(
        &mut self,
        blocked: Vec<Listener>,
        kept: &KeptSockets,
    ) -> Result<Vec<(Listener, TcpListener)>, String> {
        let blocks = |open: &OpenListener| {
            is_unwanted(open, kept) && blocked.iter().any(|one| one.address.port() == open.address.port())
        };
        let (going, staying) = std::mem::take(&mut self.open).into_iter().partition(blocks);
        self.open = staying;
        let mut gone = Vec::new();
        for open in Vec::<OpenListener>::into_iter(going) {
            gone.push(self.close_one(open).await);
        }
        let (mut bound, mut failed) = (Vec::new(), None);
        for listener in blocked {
            match self.sockets.open(listener.address) {
                Ok(socket) => bound.push((listener, socket)),
                Err(error) => failed = failed.or(Some(explain(&key_of(&listener), listener.address, &error))),
            }
        }
        let Some(mut failed) = failed else { return Ok(bound) };
        drop(bound);
        for (listener, address) in gone {
            match self.sockets.open(address) {
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

    fn serve(&mut self, listener: Listener, socket: Arc<TcpListener>) {
        let address = socket.local_addr().unwrap_or(listener.address);
        let task =
            smtp::listen(self.smtp_server.clone(), listener.clone(), socket.clone(), self.shutdown.clone());
        self.open.push(OpenListener { listener, address, socket, accepting: tokio::spawn(task) });
    }

    /// Closes it; its address is free afterwards. Clients that have connected already are served.
    async fn close_one(&self, open: OpenListener) -> (Listener, SocketAddr) {
        stop_accepting(open.accepting).await;
        smtp::serve_waiting(&self.smtp_server, &open.listener, &open.socket, &self.shutdown);
        (open.listener, open.address)
    }

    /// The name of each open listener, and where it listens.
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.open.iter().map(|open| (open.listener.name.clone(), open.address)).collect()
    }

    /// Whether a listener of that address is open.
    pub(super) fn is_wanted(&self, address: SocketAddr) -> bool {
        self.open.iter().any(|open| open.listener.address == address)
    }

    /// Lets no new sessions and transactions begin. Those under way may finish until `end`; then they end with 421 within
    /// `abort_grace`, and nothing of theirs is queued.
    pub(super) async fn close(&mut self, end: Instant, abort_grace: Duration) {
        self.shutdown.started.cancel();
        self.shutdown.sessions.close();
        if tokio::time::timeout_at(end, self.shutdown.sessions.wait()).await.is_err() {
            self.shutdown.grace_over.cancel();
            let _ = tokio::time::timeout(abort_grace, self.shutdown.sessions.wait()).await;
        }
        self.smtp_server.refusals.record_all();
        self.open.clear();
    }
}

fn is_unwanted(open: &OpenListener, kept: &KeptSockets) -> bool {
    !kept.values().any(|name| *name == open.listener.name)
}

fn key_of(listener: &Listener) -> String {
    format!("listener.{}.address", listener.name)
}

/// Ends the task that accepts clients and waits until it no longer uses its socket. Sessions go on: each is a task of its
/// own.
async fn stop_accepting(accepting: JoinHandle<()>) {
    accepting.abort();
    let _ = accepting.await;
}
