//! A small client of HTTP/1.1 for OAuth 2 tokens and webhooks: one POST at a time on a connection. No redirect is followed:
//! what is sent is for one server alone.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::request::Builder;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use std::error::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Bytes of the head of an answer.
const MOST_HEAD: usize = 16 * 1024;

/// The certificates that are trusted: those of the system and of webpki-roots. Reading them takes a while.
pub(crate) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // A machine without certificates, or with odd ones among them, still has those of webpki-roots.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What a URL names. The path may be secret.
#[derive(Clone)]
pub(crate) struct HttpTarget {
    pub(crate) is_https: bool,
    /// Without brackets.
    pub(crate) host: String,
    port: u16,
    authority: String,
    path: String,
}

impl HttpTarget {
    /// Errors are for an operator.
    pub(crate) fn parse(url: &str) -> Result<HttpTarget, String> {
        let url: Uri = url.parse().map_err(|_| "is no URL".to_owned())?;
        let authority = url.authority().ok_or("names no host")?;
        let is_https = url.scheme_str() == Some("https");
        Ok(HttpTarget {
            is_https,
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.to_string(),
            path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Scheme and host, which may be shown.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }

    /// To its address, by name or number.
    pub(crate) async fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())
    }

    /// A POST to it, without a body yet.
    pub(crate) fn post(&self, content_type: &str) -> Builder {
        Request::post(&self.path).header("host", &self.authority).header("content-type", content_type)
    }
}

/// A connection to a server. Closed when it is dropped.
pub(crate) struct HttpConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    _io: AbortOnDropHandle<()>,
}

impl HttpConnection {
    /// Over a stream that is connected, and encrypted if it is to be.
    pub(crate) async fn over<S>(stream: S) -> Result<HttpConnection, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| describe(&error))?;
        // Its errors are those of the request.
        let io = tokio::spawn(async move { drop(connection.await) });
        Ok(HttpConnection { sender, _io: AbortOnDropHandle::new(io) })
    }

    /// The head of the answer; its body is read by the caller, to its end where another request is to follow.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        self.sender.ready().await.map_err(|error| describe(&error))?;
        self.sender.send_request(request).await.map_err(|error| describe(&error))
    }
}

/// An error with its causes.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
