//! Who asks: what a route may want to know of the client behind a request.

use super::sessions::LoginSession;
use crate::unix;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::serve::IncomingStream;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::UnixListener;

/// A name of a client may be that long in an event.
const MAX_CLIENT: usize = 80;

/// The user behind the other end of the control socket; none where the system does not say.
#[derive(Clone)]
pub(crate) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Who has shown what over TCP.
#[derive(Clone)]
pub(super) enum Identity {
    /// The token of `[admin]`.
    Token,
    /// A session: it began with the password, or with a link of the demo.
    Session(Arc<LoginSession>),
    /// Nothing, and there is no password.
    Nobody,
}

/// A client over TCP, whom the guard has let in.
#[derive(Clone)]
pub(super) struct TcpAsker {
    pub(super) client: IpAddr,
    pub(super) identity: Identity,
    /// What forms of pages send, so that no page of somebody else can send them.
    pub(super) csrf_token: String,
}

impl TcpAsker {
    /// In words.
    pub(super) fn describe(&self, headers: &HeaderMap) -> String {
        let shown = match self.identity {
            Identity::Token => "with the token",
            Identity::Session(_) => "logged in",
            Identity::Nobody => "without a password",
        };
        format!("{}, {shown}, from {}", program(headers), self.client)
    }
}

/// Who asks, in words: `postroom upstream disable, user root, control socket` or `curl/8.14.1, with the token, from 192.0.2.7`.
pub(super) struct Asker(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asker, Infallible> {
        if let Some(asker) = parts.extensions.get::<TcpAsker>() {
            return Ok(Asker(asker.describe(&parts.headers)));
        }
        let program = program(&parts.headers);
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, state).await.ok();
        let user = peer.and_then(|ConnectInfo(Peer(user))| user).map(unix::name_of_user);
        let user = user.map_or_else(|| "unknown user".to_owned(), |user| format!("user {user}"));
        Ok(Asker(format!("{program}, {user}, control socket")))
    }
}

/// What the client calls itself.
fn program(headers: &HeaderMap) -> String {
    let program = headers.get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    program.unwrap_or("a client without a name").chars().take(MAX_CLIENT).collect()
}
