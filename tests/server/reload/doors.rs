//! Listeners come, go, move and are renamed, and nobody is turned away for it.

use super::{refused, reload, send};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use std::net::{SocketAddr, TcpListener, TcpStream};

fn listener(name: &str, address: SocketAddr, more: &str) -> String {
    // The mark keeps a listener of the test's own from being added.
    format!("[listener.{name}]\naddress = \"{address}\" # @LISTEN@\n{more}\n")
}

fn at(proxy: &Proxy, ip: [u8; 4]) -> SocketAddr {
    SocketAddr::from((ip, proxy.address().port()))
}

/// What tells one listening socket from another.
fn inode(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("an address of IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row[1] == local && row[3] == "0A").expect("a listening socket")[9].to_owned()
}

fn refuses(address: SocketAddr) {
    eventually("the address to be closed", || TcpStream::connect(address).is_err().then_some(()));
}

#[test]
pub fn address() {
    let proxy = Proxy::start("");
    let mut before = Talk::hello(proxy.address());
    let elsewhere = crate::support::free_address();
    reload(&proxy, &listener("test", elsewhere, ""));
    assert!(Talk::hello(elsewhere).mail("b@b.test", 100).starts_with("250"));
    refuses(proxy.address());
    assert!(before.mail("b@b.test", 100).starts_with("250"), "sessions go on");
}

/// It was refused with "another program listens there": it was the listener's own old name.
#[test]
fn a_renamed_listener_keeps_its_socket() {
    let proxy = Proxy::start("");
    let socket = inode(proxy.address());
    let mut before = Talk::hello(proxy.address());
    reload(&proxy, &listener("renamed", proxy.address(), "allow = []"));
    assert_eq!(inode(proxy.address()), socket, "nobody is turned away meanwhile");
    before.say("NOOP", "250");
    let reply = send(&proxy);
    assert!(reply.starts_with("554 5.7.1") && reply.contains("[listener.renamed]"), "{reply}");
}

#[test]
fn two_listeners_may_change_names() {
    let proxy = Proxy::start("");
    let second = crate::support::free_address();
    let closed = "allow = []";
    reload(&proxy, &(listener("one", proxy.address(), "") + &listener("two", second, closed)));
    let sockets = (inode(proxy.address()), inode(second));
    reload(&proxy, &(listener("two", proxy.address(), closed) + &listener("one", second, "")));
    assert_eq!((inode(proxy.address()), inode(second)), sockets);
    assert!(send(&proxy).starts_with("554 5.7.1"));
    assert!(Talk::hello(second).mail("b@b.test", 100).starts_with("250"));
}

#[test]
fn from_one_address_to_all_and_back_on_the_same_port() {
    let proxy = Proxy::start("");
    let (all, one, other) =
        (at(&proxy, [0, 0, 0, 0]), at(&proxy, [127, 0, 0, 1]), at(&proxy, [127, 0, 0, 2]));
    let mut before = Talk::hello(one);
    reload(&proxy, &listener("test", all, ""));
    for address in [one, other] {
        assert!(Talk::hello(address).mail("b@b.test", 100).starts_with("250"));
    }
    reload(&proxy, &listener("other", other, ""));
    assert!(Talk::hello(other).mail("b@b.test", 100).starts_with("250"));
    refuses(one);
    assert!(before.mail("b@b.test", 100).starts_with("250"), "sessions go on");
}

/// The socket that was in the way is closed by then, and bound again.
// CASES G9
#[test]
fn where_another_program_is_in_the_way_too_everything_is_as_it_was() {
    let proxy = Proxy::start("");
    let other = TcpListener::bind(at(&proxy, [127, 0, 0, 2])).unwrap();
    let mut before = Talk::hello(proxy.address());
    let third = crate::support::free_address();
    let config = listener("test", at(&proxy, [0, 0, 0, 0]), "") + &listener("third", third, "");
    refused(&proxy, &config, "another program listens there");
    assert!(TcpStream::connect(third).is_err(), "nothing of it is in force");
    assert!(before.mail("b@b.test", 100).starts_with("250"));
    drop(other);
    proxy.command(&["reload"]);
    assert!(Talk::hello(at(&proxy, [127, 0, 0, 2])).mail("b@b.test", 100).starts_with("250"));
}
