//! One POST of an event to a receiver: the request, its signature, the connection that is kept for the next one.

use super::answer::{PostResult, judge};
use crate::clock::Clock;
use crate::config::settings::Webhook;
use crate::event::Event;
use crate::https::{self, HttpConnection, HttpTarget};
use crate::mail::printable::escaped_json;
use ::aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use rustls::crypto::aws_lc_rs;
use rustls::{CertificateError, ClientConfig, Error};
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For one request, from the lookup of the name to the end of the answer.
const TIME: Duration = Duration::from_secs(10);
/// For what comes behind the head of an answer.
const BODY_TIME: Duration = Duration::from_secs(2);
/// Bytes of an answer's body that are read, so that the connection can be used again.
const MOST_BODY: usize = 4 * 1024;

/// Trusted certificates, read once for all webhooks, when the first one needs them.
#[derive(Default)]
pub(super) struct TlsRoots(Mutex<Option<Arc<ClientConfig>>>);

impl TlsRoots {
    /// They may have changed.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(config) = known {
            return Ok(config);
        }
        let made = tokio::task::spawn_blocking(|| {
            let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
            let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
            Ok::<_, String>(builder.with_root_certificates(https::roots()).with_no_client_auth())
        });
        let config = Arc::new(made.await.map_err(|error| error.to_string())??);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(config.clone());
        Ok(config)
    }
}

/// The way to one receiver.
pub(super) struct WebhookClient {
    target: HttpTarget,
    key: Option<hmac::Key>,
    /// In front of the numbers of events, which other installations have, too.
    instance: String,
    clock: Arc<dyn Clock>,
    roots: Arc<TlsRoots>,
    /// Kept while events wait.
    connection: Option<HttpConnection>,
}

impl WebhookClient {
    pub(super) fn new(
        webhook: &Webhook,
        instance: &str,
        clock: Arc<dyn Clock>,
        roots: Arc<TlsRoots>,
    ) -> Result<WebhookClient, String> {
        let secret = webhook.secret.expose_secret();
        let key = (!secret.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        let target = HttpTarget::parse(webhook.url.expose_secret())?;
        Ok(WebhookClient { target, key, instance: instance.to_owned(), clock, roots, connection: None })
    }

    /// Tells the receiver of one event, within [`TIME`].
    pub(super) async fn post(&mut self, event: &Event) -> PostResult {
        let kept = self.connection.take();
        let answered = timeout(TIME, self.exchange(kept, event)).await;
        let late = || Err(format!("no answer within {}", humantime::format_duration(TIME)));
        match answered.unwrap_or_else(|_| late()) {
            Ok((result, body, connection)) => {
                // The status has decided. Who does not end the answer in time gets the next event on another connection.
                let is_whole = timeout(BODY_TIME, is_read(body)).await.unwrap_or(false);
                self.connection = is_whole.then_some(connection);
                result
            }
            Err(error) => PostResult::NotNow(error, None),
        }
    }

    /// Nothing waits: the receiver need not keep a connection.
    pub(super) fn rest(&mut self) {
        self.connection = None;
    }

    async fn exchange(
        &self,
        kept: Option<HttpConnection>,
        event: &Event,
    ) -> Result<(PostResult, Incoming, HttpConnection), String> {
        let request = self.request(event)?;
        let mut answered = None;
        if let Some(mut kept) = kept {
            // A server may close a connection that is kept, which is no fault of it.
            answered = kept.send(request.clone()).await.ok().map(|answer| (answer, kept));
        }
        let (answer, connection) = match answered {
            Some(answered) => answered,
            None => {
                let mut connection = self.connect().await?;
                (connection.send(request).await?, connection)
            }
        };
        let (head, body) = answer.into_parts();
        Ok((judge(head.status, &head.headers, self.clock.wall()), body, connection))
    }

    async fn connect(&self) -> Result<HttpConnection, String> {
        let stream = self.target.connect().await?;
        // A request is written at once.
        let _ = stream.set_nodelay(true);
        match self.target.is_https {
            true => HttpConnection::over(self.encrypt(stream).await?).await,
            false => HttpConnection::over(stream).await,
        }
    }

    async fn encrypt(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let host = &self.target.host;
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is no host"))?;
        let connector = TlsConnector::from(self.roots.config().await?);
        connector.connect(name, stream).await.map_err(|error| describe(&error))
    }

    fn request(&self, event: &Event) -> Result<Request<Full<Bytes>>, String> {
        let body = serde_json::to_string(event).map_err(|error| error.to_string())?;
        let body = escaped_json(&body);
        let topic = event.fact.topic.map_or("", |topic| topic.word());
        let mut request = self
            .target
            .post("application/json")
            .header("user-agent", concat!("postroom/", env!("CARGO_PKG_VERSION")))
            .header("x-postroom-event", topic)
            .header("x-postroom-event-id", format!("{}-{}", self.instance, event.id));
        if let Some(key) = &self.key {
            request = request.header("x-postroom-signature", signature(key, body.as_bytes()));
        }
        request.body(Full::new(Bytes::from(body))).map_err(|error| error.to_string())
    }
}

/// HMAC-SHA256 in hexadecimal digits.
fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let digits = hmac::sign(key, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256={digits}")
}

/// Reads the body and says whether it came to its end within [`MOST_BODY`].
async fn is_read(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST_BODY {
            return false;
        }
    }
    true
}

fn describe(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is signed by an authority that is not known here; if it is the right server, add the authority to \
             the system's certificates, or name a file that has it in SSL_CERT_FILE"
                .to_owned()
        }
        _ => format!("TLS: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
