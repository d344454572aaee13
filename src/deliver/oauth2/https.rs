//! One POST of a form to an authorization server.

use crate::deliver::tls::Tls;
use crate::https::{HttpConnection, HttpTarget};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use std::path::Path;
use std::time::Duration;
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
    let target = HttpTarget::parse(url)?;
    let request = target
        .post("application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(form)))
        .map_err(|error| error.to_string())?;
    let stream = target.connect().await?;
    let mut connection = match target.is_https {
        true => HttpConnection::over(tls.connect_https(roots, &target.host, stream).await?).await?,
        false => HttpConnection::over(stream).await?,
    };
    let (head, body) = connection.send(request).await?.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(|error| error.to_string())?;
    Ok((head.status, body.to_bytes()))
}
