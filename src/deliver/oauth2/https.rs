//! One POST of a form to an authorization server. Redirects are not followed: what is sent is secret.

use crate::deliver::tls::Tls;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For the whole of it.
const TIME: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read.
const MOST: usize = 64 * 1024;

/// The status and the body. `roots`: a PEM file with roots beside the usual ones. Errors are for an operator.
pub(super) async fn post_form(
    tls: &Tls,
    roots: Option<&Path>,
    url: &str,
    form: String,
) -> Result<(StatusCode, Bytes), String> {
    let late = || Err(format!("no answer within {}", humantime::format_duration(TIME)));
    timeout(TIME, post(tls, roots, url, form)).await.unwrap_or_else(|_| late())
}

async fn post(
    tls: &Tls,
    roots: Option<&Path>,
    url: &str,
    form: String,
) -> Result<(StatusCode, Bytes), String> {
    let url: Uri = url.parse().map_err(|_| "is no URL".to_owned())?;
    let authority = url.authority().ok_or("names no host")?;
    let is_https = url.scheme_str() == Some("https");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority.as_str())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| error.to_string())?;
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let response = match is_https {
        true => exchange(tls.connect_https(roots, host, stream).await?, request).await,
        false => exchange(stream, request).await,
    };
    let (head, body) = response?.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(|error| error.to_string())?;
    Ok((head.status, body.to_bytes()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let (mut send, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    send.send_request(request).await.map_err(|error| error.to_string())
}
