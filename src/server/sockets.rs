//! Listening sockets: those that systemd has opened for us, and our own.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Opens them.
pub(super) struct Sockets {
    /// Opened by systemd for us, with the address they are bound to.
    inherited: Vec<(SocketAddr, std::net::TcpListener)>,
}

impl Sockets {
    pub(super) fn new(inherited: Vec<(SocketAddr, std::net::TcpListener)>) -> Sockets {
        Sockets { inherited }
    }

    /// A listening socket: the one that systemd has opened for us, else a new one.
    pub(super) fn open(&self, address: SocketAddr) -> io::Result<TcpListener> {
        match self.inherited.iter().find(|(inherited, _)| *inherited == address) {
            Some((_, socket)) => {
                let socket = socket.try_clone()?;
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            }
            None => bind(address),
        }
    }

    /// Where those listen that systemd has opened.
    pub(super) fn inherited(&self) -> impl Iterator<Item = SocketAddr> {
        self.inherited.iter().map(|(address, _)| *address)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What is wrong with the address at this key, and what to change (CASES G6).
pub(super) fn explain(key: &str, address: SocketAddr, error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => {
            "only root may listen below port 1024: allow it with `setcap cap_net_bind_service=+ep` on the postroom binary, \
             let a systemd socket unit open the port, in a container set the sysctl net.ipv4.ip_unprivileged_port_start, or choose \
             another port such as 2525"
        }
        ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one of its own, or 0.0.0.0 for all"
        }
        _ => "name an address and port that can be listened on",
    };
    format!("{key}: {address} cannot be listened on: {error}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // CASES G6
    #[test]
    fn who_may_not_have_port_25_is_told_three_ways_out() {
        let address = SocketAddr::from(([127, 0, 0, 1], 25));
        let text = explain("listener.local.address", address, &ErrorKind::PermissionDenied.into());
        for word in ["listener.local.address", "127.0.0.1:25", "setcap", "systemd socket", "2525"] {
            assert!(text.contains(word), "{text}");
        }
    }
}
