//! The access tokens in use, by upstream.

use super::request::{Issued, TokenError, request};
use super::token_file::TokenFile;
use crate::clock::Clock;
use crate::config::settings::{OAuth2, Upstream};
use crate::config::{Secret, Topic};
use crate::deliver::health::{TokenStatus, UpstreamHealth};
use crate::deliver::tls::Tls;
use crate::event::{EventType, Fact, code};
use crate::queue::EventLog;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A token is fetched anew so long before it expires, or after nine tenths of a short life.
const BEFORE_EXPIRY: Duration = Duration::from_secs(5 * 60);

/// Shared by all connections, and kept over reloads.
pub struct Tokens {
    clock: Arc<dyn Clock>,
    file: Arc<TokenFile>,
    reports: Option<Reports>,
    /// Whoever holds an entry's lock fetches the token; the others wait for it.
    entries: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Entry>>>>,
}

/// Where it is told how tokens fare.
struct Reports {
    health: Arc<UpstreamHealth>,
    events: Arc<dyn EventLog>,
}

#[derive(Default)]
struct Entry {
    /// Of the settings that the rest is for.
    revision: u64,
    token: Option<Token>,
    refresh_token: Option<Secret>,
    /// The last request failed, at that time (monotonic).
    failed: Option<(Duration, TokenError)>,
}

/// An access token.
#[derive(Clone)]
pub(in crate::deliver) struct Token {
    pub(in crate::deliver) secret: Secret,
    /// Monotonic.
    fetched: Duration,
    renewed: Duration,
}

impl Token {
    /// Whether it was fetched since then: then another one would fare no better.
    pub(in crate::deliver) fn is_newer_than(&self, time: Duration) -> bool {
        self.fetched >= time
    }
}

impl Tokens {
    /// Keeps nothing on disk and tells nobody.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Tokens {
        Tokens { clock, file: Arc::default(), reports: None, entries: Mutex::default() }
    }

    /// Keeps refresh tokens in `data_dir` and tells nobody.
    pub fn kept_in(data_dir: &Path, clock: Arc<dyn Clock>) -> Tokens {
        Tokens { file: Arc::new(TokenFile::at(data_dir.join("tokens.json"))), ..Tokens::in_memory(clock) }
    }

    /// Keeps refresh tokens in `data_dir`, tells the health of upstreams when tokens expire, and records events.
    pub fn new(
        clock: Arc<dyn Clock>,
        data_dir: &Path,
        health: Arc<UpstreamHealth>,
        events: Arc<dyn EventLog>,
    ) -> Tokens {
        Tokens { reports: Some(Reports { health, events }), ..Tokens::kept_in(data_dir, clock) }
    }

    /// A token that has not expired and is not the one that the upstream `refused`.
    pub(in crate::deliver) async fn get(
        self: &Arc<Self>,
        tls: &Arc<Tls>,
        upstream: &Upstream,
        oauth2: &OAuth2,
        refused: Option<&Token>,
    ) -> Result<Token, TokenError> {
        let asked = self.clock.monotonic();
        let mut entry = self.entry(&upstream.name).lock_owned().await;
        if entry.revision != upstream.revision() {
            let refresh_token = match oauth2.has_refresh_token() {
                true => Some(self.refresh_token(upstream, oauth2).await),
                false => None,
            };
            *entry = Entry { revision: upstream.revision(), refresh_token, ..Entry::default() };
        }
        let now = self.clock.monotonic();
        let is_refused = |token: &Token| refused.is_some_and(|refused| refused.secret == token.secret);
        if let Some(token) = entry.token.as_ref().filter(|token| token.renewed > now && !is_refused(token)) {
            return Ok(token.clone());
        }
        // Somebody else has asked meanwhile, in vain.
        if let Some((_, error)) = entry.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        // It goes on even if nobody waits any more, because the attempt is over: the server may have replaced the refresh token,
        // and the new one must not be lost.
        let (tokens, tls) = (self.clone(), tls.clone());
        let (upstream, oauth2) = (upstream.clone(), oauth2.clone());
        let fetching = tokio::spawn(async move { tokens.fetch(&tls, &upstream, &oauth2, &mut entry).await });
        fetching.await.unwrap_or_else(|error| {
            let text = format!("the request for a token broke off, which is a bug in Postroom: {error}");
            Err(TokenError { text, is_refusal: false })
        })
    }

    async fn fetch(
        &self,
        tls: &Tls,
        upstream: &Upstream,
        oauth2: &OAuth2,
        entry: &mut Entry,
    ) -> Result<Token, TokenError> {
        let issued = request(tls, upstream.tls_ca.as_deref(), oauth2, entry.refresh_token.as_ref()).await;
        let now = self.clock.monotonic();
        match issued {
            Ok(issued) => Ok(self.note_issued(upstream, oauth2, entry, issued, now).await),
            Err(error) => {
                self.note_failure(upstream, entry, &error);
                entry.token = None;
                entry.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    fn entry(&self, upstream: &str) -> Arc<tokio::sync::Mutex<Entry>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.entry(upstream.to_owned()).or_default())
    }

    /// The one that replaced the configured one, or that.
    async fn refresh_token(&self, upstream: &Upstream, oauth2: &OAuth2) -> Secret {
        let (name, of) = (upstream.name.clone(), oauth2.clone());
        match self.with_file(move |file| file.find(&name, &of)).await {
            Ok(kept) => kept.unwrap_or(oauth2.refresh_token.clone()),
            Err(error) => {
                let text = format!(
                    "{}: tokens.json cannot be read: {error}; the configured refresh token is used, which may no longer be taken",
                    upstream.name
                );
                self.record(upstream, EventType::Error, text);
                oauth2.refresh_token.clone()
            }
        }
    }

    /// Where waiting for the disk keeps nobody else waiting.
    async fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TokenFile) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.clone();
        tokio::task::spawn_blocking(move || work(&file)).await.unwrap_or_else(|panicked| Err(panicked.into()))
    }

    async fn note_issued(
        &self,
        upstream: &Upstream,
        oauth2: &OAuth2,
        entry: &mut Entry,
        issued: Issued,
        now: Duration,
    ) -> Token {
        let Issued { access_token, life, refresh_token } = issued;
        let early = BEFORE_EXPIRY.min(life / 10);
        let token = Token {
            secret: access_token,
            fetched: now,
            renewed: now.saturating_add(life.saturating_sub(early)),
        };
        if let Some(new) = refresh_token.filter(|new| entry.refresh_token.as_ref() != Some(new)) {
            let (name, of, kept) = (upstream.name.clone(), oauth2.clone(), new.clone());
            if entry.refresh_token.is_some()
                && let Err(error) = self.with_file(move |file| file.keep(&name, &of, &kept)).await
            {
                let text = format!(
                    "{}: the new refresh token cannot be kept in tokens.json: {error}; after a restart the old one may no \
                     longer be taken",
                    upstream.name
                );
                self.record(upstream, EventType::Error, text);
            }
            entry.refresh_token = entry.refresh_token.is_some().then_some(new);
        }
        if entry.failed.take().is_some() {
            self.record(
                upstream,
                EventType::Information,
                format!("{}: there is a token again", upstream.name),
            );
        }
        let life = jiff::SignedDuration::try_from(life).unwrap_or(jiff::SignedDuration::ZERO);
        let expires = self.clock.wall().checked_add(life).ok();
        self.report(upstream, TokenStatus { expires_at: expires, error: None });
        entry.token = Some(token.clone());
        token
    }

    fn note_failure(&self, upstream: &Upstream, entry: &Entry, error: &TokenError) {
        self.report(upstream, TokenStatus { expires_at: None, error: Some(error.text.clone()) });
        // Once, and not with every try.
        if entry.failed.as_ref().is_none_or(|(_, before)| before.text != error.text) {
            self.record(upstream, EventType::Error, format!("{}: {error}", upstream.name));
        }
    }

    fn report(&self, upstream: &Upstream, status: TokenStatus) {
        if let Some(reports) = &self.reports {
            reports.health.note_token(&upstream.name, status);
        }
    }

    fn record(&self, upstream: &Upstream, kind: EventType, text: String) {
        tracing::warn!(upstream = upstream.name, "{text}");
        if let Some(reports) = &self.reports {
            let fact = Fact::new(self.clock.wall(), kind, "Upstream", code::TOKEN, text);
            let fact = Fact { upstream: Some(upstream.name.clone()), ..fact }.on(Topic::Token);
            reports.events.record(vec![fact]);
        }
    }
}
