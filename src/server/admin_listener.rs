//! The admin listener: opened and closed as the settings say, closed last at a stop.

use super::sockets::{Sockets, explain};
use crate::admin::AdminServer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The listener of `[admin] listen`, with its socket.
pub(super) struct AdminListener {
    server: Arc<AdminServer>,
    sockets: Arc<Sockets>,
    open: Option<OpenAdmin>,
}

struct OpenAdmin {
    wanted: SocketAddr,
    /// With the real port, where port 0 is wanted.
    address: SocketAddr,
    /// Cancelled to close it.
    closed: CancellationToken,
}

/// What is to become of the listener; its socket is bound already.
pub(super) enum NextAdmin {
    AsItIs,
    Closed,
    Open(SocketAddr, TcpListener),
}

impl AdminListener {
    /// Not open yet.
    pub(super) fn new(server: AdminServer, sockets: Arc<Sockets>) -> AdminListener {
        AdminListener { server: Arc::new(server), sockets, open: None }
    }

    /// Binds the wanted address, where that is another one. Nothing has changed yet.
    ///
    /// # Errors
    /// In words, with what to change, where it cannot be listened on.
    pub(super) fn prepare(&self, wanted: Option<SocketAddr>) -> Result<NextAdmin, String> {
        match wanted {
            wanted if wanted == self.open.as_ref().map(|open| open.wanted) => Ok(NextAdmin::AsItIs),
            None => Ok(NextAdmin::Closed),
            Some(address) => match self.sockets.open(address) {
                Ok(socket) => Ok(NextAdmin::Open(address, socket)),
                Err(error) => Err(explain("admin.listen", address, &error)),
            },
        }
    }

    /// Requests that are being answered on the old address come to their end.
    pub(super) fn change(&mut self, next: NextAdmin) {
        let opened = match next {
            NextAdmin::AsItIs => return,
            NextAdmin::Closed => None,
            NextAdmin::Open(wanted, socket) => {
                let closed = CancellationToken::new();
                let address = socket.local_addr().unwrap_or(wanted);
                tokio::spawn(self.server.clone().listen(socket, closed.clone()));
                Some(OpenAdmin { wanted, address, closed })
            }
        };
        if let Some(old) = std::mem::replace(&mut self.open, opened) {
            old.closed.cancel();
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.address)
    }

    /// What it was told to listen on.
    pub(super) fn wanted(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|open| open.wanted)
    }

    /// Ends event streams, and lets requests under way come to their end within `grace`.
    pub(super) async fn close(&mut self, grace: Duration) {
        self.change(NextAdmin::Closed);
        self.server.close(grace).await;
    }

    /// The server behind it.
    pub(super) fn server(&self) -> &AdminServer {
        &self.server
    }
}
