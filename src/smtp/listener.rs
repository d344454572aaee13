//! Accepts clients, gives each a permit and a task of its own.
//!
//! Promises: without a permit a client hears 421 and is gone; the loop outlives every error of accept, without spinning; a
//! panic in one session ends only that one.

use super::reply::Reply;
use super::session;
use super::transaction::Terms;
use super::{FrontDoor, Stopping};
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

/// How long accepting rests after an error that will not go away at once, such as too many open files.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Serves the clients of one listener until the front door closes. `listener` says what holds where the settings no
/// longer name it.
pub async fn listen(
    door: Arc<FrontDoor>,
    listener: Listener,
    socket: impl Into<Arc<TcpListener>>,
    stopping: Stopping,
) {
    let socket: Arc<TcpListener> = socket.into();
    let name: Arc<str> = listener.name.as_str().into();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.closing.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                welcome(&door, &listener, &name, stream, address.ip().to_canonical(), &stopping)
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %name, %error, "cannot accept: raise the limit on open files, if it is that");
                tokio::select! {
                    () = stopping.closing.cancelled() => return,
                    () = tokio::time::sleep(BACK_OFF) => {}
                }
            }
        }
    }
}

/// Serves those who have connected to a socket that is about to be closed and that nobody accepts on any more.
pub fn welcome_waiting(
    door: &Arc<FrontDoor>,
    listener: &Listener,
    socket: &TcpListener,
    stopping: &Stopping,
) {
    let name: Arc<str> = listener.name.as_str().into();
    // An error ends it like nobody being there any more: the socket goes.
    while let Ok((stream, address)) = accept_now(socket) {
        welcome(door, listener, &name, stream, address.ip().to_canonical(), stopping);
    }
}

/// Without waiting: an error where nobody is there.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = socket2::SockRef::from(socket).accept()?;
    stream.set_nonblocking(true)?;
    let address = address.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((TcpStream::from_std(stream.into())?, address))
}

/// The client went away between SYN and accept: nothing to wait for.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn welcome(
    door: &Arc<FrontDoor>,
    listener: &Listener,
    name: &Arc<str>,
    mut stream: TcpStream,
    client: IpAddr,
    stopping: &Stopping,
) {
    let settings = door.settings.borrow().clone();
    let permit = match door.permits.admit(client, &settings.limits) {
        Ok(permit) => permit,
        Err(reply) => {
            tracing::info!(%client, listener = %name, "refused: {}", reply.text);
            door.refused(client, name, &reply);
            return send_now(&stream, &reply);
        }
    };
    tracing::debug!(%client, listener = %name, "connected");
    // Replies are small and complete: Nagle would only hold them back.
    let _ = stream.set_nodelay(true);
    let allow = &settings.listeners.iter().find(|one| one.name == listener.name).unwrap_or(listener).allow;
    let may_relay = allow.iter().any(|network| network.contains(&client));
    let terms = Terms { listener: name.clone(), client, may_relay, settings };
    let (door, stopping) = (door.clone(), stopping.clone());
    stopping.sessions.clone().spawn(async move {
        let _permit = permit;
        let hasty = has_input(&stream);
        // What sessions share is left whole by each of its methods, so a panic between two of them breaks nothing.
        let served =
            AssertUnwindSafe(session::run(&door, &mut stream, terms, hasty, &stopping)).catch_unwind().await;
        if served.is_err() {
            tracing::error!(%client, "a session panicked: this is a bug in Postroom; the others go on");
            let mut last = Vec::new();
            Reply::new(421, 3, 0, "internal error: try again later, and see Postroom's log")
                .write_to(&mut last);
            let _ = tokio::time::timeout(BACK_OFF, stream.write_all(&last)).await;
        }
    });
}

/// One try, without waiting: the buffer of a fresh connection is empty.
fn send_now(stream: &TcpStream, reply: &Reply) {
    let mut text = Vec::new();
    reply.write_to(&mut text);
    let _ = socket2::SockRef::from(stream).send(&text);
}

/// Whether the client has sent something already.
fn has_input(stream: &TcpStream) -> bool {
    matches!(socket2::SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]), Ok(1..))
}
