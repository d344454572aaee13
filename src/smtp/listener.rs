//! Accepts clients, gives each a permit and a task of its own.
//!
//! Promises: a client without a permit gets 421 and is disconnected; no error of accept ends the loop, and none makes it spin;
//! a panic in one session ends only that one.

use super::inbound_stream::InboundStream;
use super::refusal_reason;
use super::reply::{self, ReplyToClient};
use super::server::{Shutdown, SmtpServer};
use super::session;
use super::session_context::SessionContext;
use crate::config::settings::Listener;
use futures_util::FutureExt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// The pause after an error of accept that will not go away at once, such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the clients of one listener until the server stops. `listener` is used where the settings no longer name it.
pub async fn listen(
    server: Arc<SmtpServer>,
    listener: Listener,
    socket: impl Into<Arc<TcpListener>>,
    shutdown: Shutdown,
) {
    let socket: Arc<TcpListener> = socket.into();
    let name: Arc<str> = listener.name.as_str().into();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.started.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                serve(&server, &listener, &name, stream, address.ip().to_canonical(), &shutdown)
            }
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %name, %error, "cannot accept: raise the limit on open files, if it is that");
                tokio::select! {
                    () = shutdown.started.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Serves the clients that have connected to a socket on which nobody accepts any more, because it is about to be closed.
pub fn serve_waiting(
    server: &Arc<SmtpServer>,
    listener: &Listener,
    socket: &TcpListener,
    shutdown: &Shutdown,
) {
    let name: Arc<str> = listener.name.as_str().into();
    // An error means that no client waits, or that the socket is of no use any more.
    while let Ok((stream, address)) = accept_now(socket) {
        serve(server, listener, &name, stream, address.ip().to_canonical(), shutdown);
    }
}

/// Accepts without waiting: an error where no client waits.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = socket2::SockRef::from(socket).accept()?;
    stream.set_nonblocking(true)?;
    let address = address.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((TcpStream::from_std(stream.into())?, address))
}

/// The client has closed the connection before it was accepted: the next client can be accepted at once.
fn is_clients_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn serve(
    server: &Arc<SmtpServer>,
    listener: &Listener,
    name: &Arc<str>,
    stream: TcpStream,
    client: IpAddr,
    shutdown: &Shutdown,
) {
    let settings = server.settings.borrow().clone();
    let permit = match server.permits.admit(client, &settings.limits) {
        Ok(permit) => permit,
        Err(reply) => {
            tracing::info!(%client, listener = %name, "refused: {}", reply.text);
            server.refusals.add(client, name, &reply);
            server.metrics.refused(name, refusal_reason::of(&reply));
            return send_now(&stream, &reply);
        }
    };
    tracing::debug!(%client, listener = %name, "connected");
    // Replies are sent whole, so Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let listener =
        settings.listeners.iter().find(|one| one.name == listener.name).unwrap_or(listener).clone();
    let open = server.metrics.session(name);
    let context = SessionContext::new(settings, Arc::new(listener), client);
    let (server, shutdown) = (server.clone(), shutdown.clone());
    shutdown.sessions.clone().spawn(async move {
        let _permit = (permit, open);
        let early_talker = has_input(&stream);
        let mut stream = InboundStream::Plain(stream);
        // What sessions share is left whole by each of its methods, so a panic between two of them breaks nothing.
        let served = AssertUnwindSafe(session::run(&server, &mut stream, context, early_talker, &shutdown))
            .catch_unwind()
            .await;
        if served.is_err() {
            tracing::error!(%client, "a session panicked: this is a bug in Postroom; the others go on");
            let mut last = Vec::new();
            reply::INTERNAL_ERROR.write_to(&mut last);
            let _ = tokio::time::timeout(PAUSE, stream.write_all(&last)).await;
        }
    });
}

/// Sends without waiting: the send buffer of a new connection is empty.
fn send_now(stream: &TcpStream, reply: &ReplyToClient) {
    let mut text = Vec::new();
    reply.write_to(&mut text);
    let _ = socket2::SockRef::from(stream).send(&text);
}

/// Whether the client has sent something already.
fn has_input(stream: &TcpStream) -> bool {
    matches!(socket2::SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]), Ok(1..))
}
