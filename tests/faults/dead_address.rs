//! A host with two addresses, one of which does not answer (CASES H8).

use super::disk::where_mounting_is_allowed;
use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

/// Connections to that address are dropped by the system, as if nobody were there: the listener's queue is full.
fn swallow(ip: &str, port: u16) -> Option<(IpAddr, Vec<Socket>)> {
    let address = SocketAddr::new(ip.parse().unwrap(), port);
    let socket = || Socket::new(Domain::for_address(address), Type::STREAM, None);
    let listener = socket().ok()?;
    listener.bind(&address.into()).ok()?;
    listener.listen(0).unwrap();
    let mut all = vec![listener];
    for _ in 0..8 {
        let client = socket().unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = client.connect(&address.into());
        all.push(client);
    }
    Some((address.ip(), all))
}

/// Each new connection once cost `connect_timeout`, which is long here so that nobody can wait for it.
// CASES H8
#[test]
fn a_dead_ipv6_address_does_not_hold_up_the_mail() {
    where_mounting_is_allowed(|| {
        let recorder = Recorder::start();
        let (live, port) = (recorder.address().ip(), recorder.address().port());
        // A machine without IPv6 shows the same with two addresses of the other kind.
        let (dead, _sockets) = swallow("::1", port).or_else(|| swallow("127.0.0.2", port)).unwrap();
        let hosts = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(hosts.path(), format!("{dead} dual.test\n{live} dual.test\n")).unwrap();
        let mounted = Command::new("mount").arg("--bind").arg(hosts.path()).arg("/etc/hosts").status();
        assert!(mounted.unwrap().success());

        let proxy = Proxy::start(&format!(
            "[upstream.dual]\nhost = \"dual.test:{port}\"\ntls = \"none\"\nconnect_timeout = \"10m\"\n\
             messages_per_connection = 1\n"
        ));
        for _ in 0..3 {
            let envelope = Envelope { from: "a@a.test", to: &["b@b.test"] };
            smtplib(proxy.address(), &envelope, b"Subject: t\r\n\r\nx\r\n", &[]);
        }
        recorder.wait(3);
    });
}
