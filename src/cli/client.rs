//! A client of the admin routes over the control socket of a running proxy.

use super::change::EndsModes;
use super::{EXIT_CONFIG, Failure};
use crate::admin::problem::Problem;
use crate::mail::printable::printable_lines;
use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;
use tokio::net::UnixStream;

/// One connection to the running proxy.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Who asks, as events tell it.
    name: String,
}

impl Client {
    /// Connects; none with no proxy running.
    pub(super) async fn connect(socket: &Path) -> Result<Option<Client>, Failure> {
        let stream = match UnixStream::connect(socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => {
                let hint = "run this as the user that the proxy runs as";
                let what = format!("{} cannot be opened ({hint})", socket.display());
                return Err(anyhow::Error::new(error).context(what).into());
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Some(Client { sender, name: "postroom".to_owned() }))
    }

    /// Connects, or says that no proxy runs.
    pub(super) async fn must_connect(socket: &Path) -> Result<Client, Failure> {
        let none = || {
            anyhow!(
                "no proxy is running (nobody answers on {}); start it with `postroom serve`",
                socket.display()
            )
        };
        Ok(Client::connect(socket).await?.ok_or_else(none)?)
    }

    /// The same, for a verb whose name events tell.
    pub(super) fn named(self, verb: &str) -> Client {
        Client { name: format!("postroom {verb}"), ..self }
    }

    /// GET, with a JSON answer.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, &()).await
    }

    /// POST with a JSON body and a JSON answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.ask(Method::POST, path, body).await
    }

    /// POST, with an answer of lines of JSON that come as things go on.
    pub(super) async fn lines(&mut self, path: &str, body: &impl Serialize) -> Result<Incoming, Failure> {
        let request = Request::post(path).header("accept", "application/x-ndjson");
        Ok(self.send(request, serde_json::to_vec(body)?).await?.into_body())
    }

    /// Any method, with a JSON answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let answer = self.response(method, path, body).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&bytes)
            .context("the proxy's answer cannot be read: is it of another version?")?)
    }

    /// GET, with an answer that is read piece by piece.
    pub(super) async fn open(&mut self, path: &str) -> Result<Incoming, Failure> {
        Ok(self.response(Method::GET, path, &()).await?.into_body())
    }

    async fn response(
        &mut self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Response<Incoming>, Failure> {
        let body = if method == Method::GET { Vec::new() } else { serde_json::to_vec(body)? };
        self.send(Request::builder().method(method).uri(path), body).await
    }

    async fn send(&mut self, request: Builder, body: Vec<u8>) -> Result<Response<Incoming>, Failure> {
        let request = request
            .header("host", "postroom")
            .header("user-agent", &self.name)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.sender.send_request(request).await.context("the proxy did not answer")?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let problem = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Problem::new(status, format!("the proxy answered {status}")));
        Err(refused(status, &problem))
    }
}

fn refused(status: StatusCode, problem: &Problem) -> Failure {
    if status == StatusCode::UNPROCESSABLE_ENTITY {
        eprintln!("{}", printable_lines(&problem.detail));
        return Failure::Silent(EXIT_CONFIG);
    }
    if let Some(ends) = problem.errors.first().and_then(|error| error["ends"].as_str()) {
        return EndsModes(ends.to_owned()).into();
    }
    anyhow!("{}", problem.detail).into()
}

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A value, percent-encoded for the query of a URL.
pub(super) fn query_value(value: &str) -> impl std::fmt::Display {
    utf8_percent_encode(value, RESERVED)
}
