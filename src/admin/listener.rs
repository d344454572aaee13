//! The routes over TCP, in clear text or TLS: accepts clients, and gives each a bounded time and place. What a request may do is the
//! guard's to say.
//!
//! Promises: no error of accept ends the loop; a client takes a bounded amount of memory, whatever it sends or does not read; one
//! that sends nothing, or reads nothing, is disconnected; beyond [`MAX_CONNECTIONS`] the oldest that asks for nothing makes place, and
//! where there is none a client gets 503.

use super::guard::TcpConnection;
use super::state::AdminState;
use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A thousand followers of events, and who else asks.
const MAX_CONNECTIONS: usize = 1200;
/// How long a client is waited for.
#[derive(Clone, Copy)]
struct Timeouts {
    /// For the header of a request, and for the time between two requests.
    header: Duration,
    handshake: Duration,
    /// For a write to a client that does not read.
    write: Duration,
}

const TIMEOUTS: Timeouts = Timeouts {
    header: Duration::from_secs(15),
    handshake: Duration::from_secs(10),
    write: Duration::from_secs(60),
};

/// Bytes of a header, and of what is read or written ahead.
const BUFFER: usize = 32 << 10;
/// For requests under way when the listener is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an error of accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 24\r\nConnection: close\r\n\r\n\
                        this is HTTPS: https://\n";

type RouterService = TowerToHyperService<Router>;

/// Serves the routes on sockets that others open.
pub(crate) struct AdminServer {
    state: AdminState,
    router: RouterService,
    connections: Arc<Semaphore>,
    /// Those that are served, the oldest first.
    served: Mutex<VecDeque<Weak<Served>>>,
    tasks: TaskTracker,
    /// Cancelled when no more time is left.
    now: CancellationToken,
}

impl AdminServer {
    /// `router` has the guard before all its routes.
    pub(crate) fn new(state: AdminState, router: Router) -> AdminServer {
        AdminServer {
            state,
            router: TowerToHyperService::new(router),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            served: Mutex::default(),
            tasks: TaskTracker::new(),
            now: CancellationToken::new(),
        }
    }

    /// What logs in once, without the password.
    pub(crate) fn login_token(&self) -> Option<String> {
        self.state.logins.new_token()
    }

    /// Serves the clients of a socket until it is closed.
    pub(crate) async fn listen(self: Arc<Self>, socket: TcpListener, closed: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = closed.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, client)) => self.clone().admit(stream, client, closed.clone()),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a client of the admin listener");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Waits until no client is served any more; from the end of `grace` on nobody is.
    pub(crate) async fn close(&self, grace: Duration) {
        self.tasks.close();
        if timeout(grace, self.tasks.wait()).await.is_err() {
            self.now.cancel();
            self.tasks.wait().await;
        }
    }

    fn admit(self: Arc<Self>, stream: TcpStream, client: SocketAddr, closed: CancellationToken) {
        let tls = self.state.settings.borrow().admin.certificate.as_ref().map(|one| one.tls.clone());
        let permit = self.connections.clone().try_acquire_owned().ok();
        if permit.is_none() && !self.end_an_idle_one() {
            if tls.is_none() {
                // The send buffer of a new connection is empty: this does not wait.
                let _ = socket2::SockRef::from(&stream).send(TOO_MANY);
            }
            return;
        }
        let served = self.remembered();
        let _ = stream.set_nodelay(true);
        let client = client.ip().to_canonical();
        let local = stream.local_addr().map_or(client, |local| local.ip().to_canonical());
        let connection = TcpConnection { client, local, is_tls: tls.is_some(), closed };
        let now = self.now.clone();
        self.tasks.clone().spawn(async move {
            let _permit = match permit {
                Some(permit) => Ok(permit),
                // That of the one that was ended for it.
                None => self.connections.clone().acquire_owned().await,
            };
            tokio::select! {
                () = now.cancelled() => {}
                () = served.end.cancelled() => {}
                () = serve(self.router.clone(), stream, tls, connection, &served, TIMEOUTS) => {}
            }
        });
    }

    fn remembered(&self) -> Arc<Served> {
        let (served, mut all) = (Arc::new(Served::default()), self.lock_served());
        if all.len() >= 2 * MAX_CONNECTIONS {
            all.retain(|served| served.strong_count() > 0);
        }
        all.push_back(Arc::downgrade(&served));
        served
    }

    /// Makes place for another client: who takes all connections and asks for nothing keeps nobody else out, health checks among
    /// them. False where all are in use.
    fn end_an_idle_one(&self) -> bool {
        let mut all = self.lock_served();
        let mut is_found = false;
        all.retain(|served| {
            let Some(served) = served.upgrade() else { return false };
            let ends = !is_found && !served.is_in_use.load(Ordering::Relaxed);
            if ends {
                served.end.cancel();
            }
            is_found |= ends;
            !ends
        });
        is_found
    }

    fn lock_served(&self) -> MutexGuard<'_, VecDeque<Weak<Served>>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection.
#[derive(Default)]
struct Served {
    /// A request is answered, or events are sent.
    is_in_use: AtomicBool,
    /// Cancelled for another client's sake.
    end: CancellationToken,
}

async fn serve(
    router: RouterService,
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    connection: TcpConnection,
    served: &Arc<Served>,
    timeouts: Timeouts,
) {
    if tls.is_some() && speaks_http(&stream, timeouts.handshake).await {
        let _ = socket2::SockRef::from(&stream).send(NO_TLS);
        return;
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(timeouts.write));
    let stream: Pin<Box<TimeoutStream<TcpStream>>> = Box::pin(stream);
    match tls {
        None => serve_http(router, stream, connection, served, timeouts).await,
        // What went wrong is the client's to say.
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(timeouts.handshake, TlsAcceptor::from(tls).accept(stream)).await {
                serve_http(router, stream, connection, served, timeouts).await;
            }
        }
    }
}

/// Whether a client that ought to speak TLS begins a request in clear text.
async fn speaks_http(stream: &TcpStream, limit: Duration) -> bool {
    let mut first = [0];
    matches!(timeout(limit, stream.peek(&mut first)).await, Ok(Ok(1))) && first[0].is_ascii_uppercase()
}

async fn serve_http<S>(
    router: RouterService,
    stream: S,
    connection: TcpConnection,
    served: &Arc<Served>,
    timeouts: Timeouts,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closed = connection.closed.clone();
    let served = served.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        served.is_in_use.store(true, Ordering::Relaxed);
        let (answering, served) = (router.call(request), served.clone());
        async move {
            let answer = answering.await;
            let is_stream = |answer: &Response| {
                answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
            };
            served.is_in_use.store(answer.as_ref().is_ok_and(is_stream), Ordering::Relaxed);
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_header_size(BUFFER)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    // Errors of a connection are the client's.
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = closed.cancelled() => None,
    };
    if ended.is_none() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(CLOSE_TIMEOUT, serving).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(600);

    /// A connection to a router with a body without end, and what serves it.
    async fn connected(timeouts: Timeouts) -> (TcpStream, impl Future<Output = ()>) {
        let endless = || async {
            let zeros =
                futures_util::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 4096])));
            Body::from_stream(zeros)
        };
        let router = TowerToHyperService::new(Router::new().route("/", get(endless)));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (stream, address) = socket.accept().await.unwrap();
        let connection = TcpConnection {
            client: address.ip(),
            local: address.ip(),
            is_tls: false,
            closed: CancellationToken::new(),
        };
        let served = Arc::new(Served::default());
        (client, async move { serve(router, stream, None, connection, &served, timeouts).await })
    }

    #[tokio::test]
    async fn who_sends_no_header_is_disconnected() {
        let (mut client, serving) = connected(Timeouts { header: SHORT, handshake: LONG, write: LONG }).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
        serving.await;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn who_reads_nothing_is_disconnected() {
        let (mut client, serving) = connected(Timeouts { header: LONG, handshake: LONG, write: SHORT }).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        // With a client that goes on reading it would not end.
        serving.await;
    }
}
