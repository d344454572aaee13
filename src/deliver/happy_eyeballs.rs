//! TCP to a host by several of its addresses at once (happy eyeballs, RFC 8305).
//!
//! IPv6 and IPv4 take turns, beginning with what the resolver puts first (RFC 6724: IPv6 wherever the machine can use it).
//! A quarter of a second after each attempt, or at once when one fails, the next address is tried too; the first that
//! answers is taken, the others are dropped. So an address that does not answer costs a quarter of a second.
//! Where it was not the first, it is tried first the next time, until no session comes about with it.
//!
//! Limit: names are resolved as a whole before the first attempt. (The crate `happy-eyeballs` binds to no source address
//! and has not changed since 2023; the connector of hyper-util tries the addresses of one family one after the other.)

use super::peer_cache::PreferredAddresses;
use super::session_steps::{SessionStep, SessionSteps};
use crate::config::settings::Upstream;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// Between the attempts (RFC 8305 section 8, Connection Attempt Delay).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A connection to the upstream's host, within its `connect_timeout` in all; else what went wrong, in words.
pub(super) async fn connect(
    upstream: &Upstream,
    peers: &PreferredAddresses,
    steps: &mut SessionSteps<'_>,
) -> Result<TcpStream, String> {
    let within = upstream.connect_timeout;
    let mut attempts = Attempts::default();
    let connecting = async {
        steps.begin(SessionStep::Lookup);
        let resolved = lookup_host((upstream.host.as_str(), upstream.port)).await;
        let resolved = resolved.map_err(|error| format!("the name cannot be resolved: {error}"))?;
        let resolved: Vec<SocketAddr> = resolved.collect();
        steps.done(|| resolved.iter().map(|one| one.ip().to_string()).collect::<Vec<_>>().join(", "));
        steps.begin(SessionStep::Connect);
        Ok(connect_to_any(upstream, peers, resolved, &mut attempts).await)
    };
    match timeout(within, connecting).await {
        Ok(Ok(Some(stream))) => {
            steps.done(|| stream.peer_addr().map_or_else(|_| "connected".to_owned(), |to| to.to_string()));
            Ok(stream)
        }
        Ok(Ok(None)) if attempts.begun.is_empty() => {
            Err("the name has no address that can be reached from `source_address`".to_owned())
        }
        Ok(Ok(None)) => Err(attempts.describe(within)),
        Ok(Err(unresolved)) => Err(unresolved),
        Err(_) if attempts.begun.is_empty() => Err("the name was not resolved in time".to_owned()),
        Err(_) => Err(attempts.describe(within)),
    }
}

async fn connect_to_any(
    upstream: &Upstream,
    peers: &PreferredAddresses,
    mut addresses: Vec<SocketAddr>,
    attempts: &mut Attempts,
) -> Option<TcpStream> {
    if let Some(source) = upstream.source_address {
        addresses.retain(|address| source.is_ipv4() == address.is_ipv4());
    }
    let addresses = in_order(addresses, peers.preferred(&upstream.name));
    let first = addresses.first().copied();
    let connect = |address| connect_to(address, upstream);
    let (address, stream) = race(addresses, connect, || sleep(ATTEMPT_DELAY), attempts).await?;
    // Where the first one answers the resolver's order stands, so that names that take turns go on doing so.
    if first != Some(address) {
        peers.prefer(&upstream.name, address);
    }
    Some(stream)
}

async fn connect_to(address: SocketAddr, upstream: &Upstream) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Every write is a whole step of the dialogue: waiting for more would only delay it.
    socket.set_nodelay(true)?;
    if let Some(source) = upstream.source_address {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

/// The preferred address, if it is still one of them, then the families in turns (RFC 8305 section 4).
fn in_order(addresses: Vec<SocketAddr>, preferred: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut ordered: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        ordered.extend(pair.into_iter().flatten());
    }
    if let Some(place) = ordered.iter().position(|address| Some(*address) == preferred) {
        ordered[..=place].rotate_right(1);
    }
    ordered
}

/// What was tried, and how it failed where it did.
#[derive(Default)]
struct Attempts {
    begun: Vec<SocketAddr>,
    failed: Vec<(SocketAddr, io::Error)>,
}

impl Attempts {
    /// `no connection to ::1: …; to 127.0.0.1: …`
    fn describe(&self, within: Duration) -> String {
        let one = |address: &SocketAddr| {
            let why = match self.failed.iter().find(|(failed, _)| failed == address) {
                Some((_, error)) => error.to_string(),
                None => format!("no answer within {}", humantime::format_duration(within)),
            };
            format!("to {}: {why}", address.ip())
        };
        format!("no connection {}", self.begun.iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

/// The first address that `connect` succeeds with. `pause` is waited for between the attempts.
async fn race<T, Connecting, Pausing>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> Connecting,
    pause: impl Fn() -> Pausing,
    attempts: &mut Attempts,
) -> Option<(SocketAddr, T)>
where
    Connecting: Future<Output = io::Result<T>>,
    Pausing: Future<Output = ()>,
{
    let mut waiting = addresses.into_iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        if let Some(address) = waiting.next() {
            attempts.begun.push(address);
            let connecting = connect(address);
            under_way.push(async move { (address, connecting.await) });
        }
        let ended = tokio::select! {
            biased;
            ended = under_way.next() => ended,
            () = pause(), if waiting.len() > 0 => continue,
        };
        match ended? {
            (address, Ok(connection)) => return Some((address, connection)),
            (address, Err(error)) => attempts.failed.push((address, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream as StdStream};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 25)).collect()
    }

    /// Who wins among them, after how many pauses: `dead` ones never answer, `refusing` ones fail at once.
    async fn winner(all: &[&str], dead: &[&str], refusing: &[&str]) -> (Option<String>, usize) {
        let (pauses, mut attempts) = (AtomicUsize::new(0), Attempts::default());
        let connect = async |address: SocketAddr| {
            let name = address.ip().to_string();
            match name.as_str() {
                name if dead.contains(&name) => pending().await,
                name if refusing.contains(&name) => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => Ok(()),
            }
        };
        let pause = async || {
            pauses.fetch_add(1, Ordering::Relaxed);
        };
        let won = race(addresses(all), connect, pause, &mut attempts).await;
        (won.map(|(address, ())| address.ip().to_string()), pauses.into_inner())
    }

    // CASES H8
    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_one_pause_and_one_that_refuses_none() {
        let won = |name: &str, pauses| (Some(name.to_owned()), pauses);
        assert_eq!(winner(&["::1", "10.0.0.1"], &[], &[]).await, won("::1", 0));
        assert_eq!(winner(&["::1", "10.0.0.1"], &["::1"], &[]).await, won("10.0.0.1", 1));
        assert_eq!(winner(&["::1", "10.0.0.1"], &[], &["::1"]).await, won("10.0.0.1", 0));
        let dead = ["::1", "10.0.0.1", "::2"];
        assert_eq!(winner(&["::1", "10.0.0.1", "::2", "10.0.0.2"], &dead, &[]).await, won("10.0.0.2", 3));
        assert_eq!(winner(&["::1", "10.0.0.1"], &[], &["::1", "10.0.0.1"]).await, (None, 0));
        assert_eq!(winner(&[], &[], &[]).await, (None, 0));
    }

    #[test]
    fn families_take_turns_and_the_one_that_worked_goes_first() {
        let all = addresses(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]);
        let expected = addresses(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]);
        assert_eq!(in_order(all.clone(), None), expected);
        let gone = addresses(&["10.0.0.9"])[0];
        assert_eq!(in_order(all.clone(), Some(gone)), expected);
        let expected = addresses(&["::2", "::1", "10.0.0.1", "10.0.0.2", "::3"]);
        assert_eq!(in_order(all, Some(expected[0])), expected);
        let expected = addresses(&["10.0.0.1", "::1", "10.0.0.2"]);
        assert_eq!(in_order(addresses(&["10.0.0.1", "10.0.0.2", "::1"]), None), expected);
    }

    /// A listener whose backlog is full: the system drops further connections, as a host does that is not there.
    struct Swallows {
        address: SocketAddr,
        _listener: socket2::Socket,
        _queue: Vec<socket2::Socket>,
    }

    fn swallows(ip: IpAddr, port: u16) -> Option<Swallows> {
        use socket2::{Domain, Socket, Type};
        let address = SocketAddr::new(ip, port);
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
        listener.bind(&address.into()).ok()?;
        listener.listen(0).unwrap();
        let mut queue = Vec::new();
        for _ in 0..8 {
            let client = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address.into());
            queue.push(client);
        }
        Some(Swallows { address, _listener: listener, _queue: queue })
    }

    fn upstream(port: u16) -> Upstream {
        crate::config::default_upstream("a", "unused.test", port)
    }

    /// It cost `connect_timeout` for each new connection.
    // CASES H8
    #[tokio::test]
    async fn a_dead_address_does_not_keep_a_live_one_from_being_used_and_then_preferred() {
        let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let live_address = live.local_addr().unwrap();
        for dead in ["::1", "127.0.0.2"] {
            // A machine may have no IPv6; the other one proves the same.
            let Some(dead) = swallows(dead.parse().unwrap(), live_address.port()) else { continue };
            let probe = StdStream::connect_timeout(&dead.address, Duration::from_millis(300));
            assert!(probe.is_err(), "it answers, so it proves nothing");
            let (upstream, peers) = (upstream(live_address.port()), PreferredAddresses::default());
            let both = vec![dead.address, live_address];
            let (start, mut attempts) = (Instant::now(), Attempts::default());
            let stream = connect_to_any(&upstream, &peers, both.clone(), &mut attempts).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), live_address);
            assert!(start.elapsed() >= ATTEMPT_DELAY && start.elapsed() < upstream.connect_timeout);
            assert_eq!(attempts.begun, both);

            let mut again = Attempts::default();
            connect_to_any(&upstream, &peers, both, &mut again).await.unwrap();
            assert_eq!(again.begun, [live_address], "the dead one is not asked any more");
        }
    }

    #[tokio::test]
    async fn with_no_address_alive_each_is_told() {
        let upstream =
            upstream(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port());
        let mut attempts = Attempts::default();
        let all = vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), upstream.port)];
        let none = connect_to_any(&upstream, &PreferredAddresses::default(), all, &mut attempts).await;
        assert!(none.is_none());
        attempts.begun.push("[::1]:25".parse().unwrap());
        let told = attempts.describe(Duration::from_secs(30));
        assert!(told.starts_with("no connection to 127.0.0.1: Connection refused"), "{told}");
        assert!(told.ends_with("; to ::1: no answer within 30s"), "{told}");
    }

    #[tokio::test]
    async fn the_source_address_leaves_only_its_family() {
        let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut upstream = upstream(live.local_addr().unwrap().port());
        upstream.source_address = Some(Ipv4Addr::LOCALHOST.into());
        let mut attempts = Attempts::default();
        let both = vec![SocketAddr::new("::1".parse().unwrap(), upstream.port), live.local_addr().unwrap()];
        assert!(
            connect_to_any(&upstream, &PreferredAddresses::default(), both, &mut attempts).await.is_some()
        );
        assert_eq!(attempts.begun, [live.local_addr().unwrap()]);
    }
}
