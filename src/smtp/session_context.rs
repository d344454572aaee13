//! Who the client of a session is, where it came in, and what it may do. What the network and the user of a session allow is
//! decided here and nowhere else.

use super::reply::{self, ReplyToClient};
use crate::config::Settings;
use crate::config::settings::{InboundAuth, Listener, TlsMode, User};
use crate::mail::{Class, ReversePath};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of a client. The settings hold to the end of its session.
#[derive(Clone, Debug)]
pub struct SessionContext {
    /// The settings that were in force when the session began.
    pub settings: Arc<Settings>,
    /// The listener.
    pub listener: Arc<Listener>,
    /// The client's address, without its port.
    pub client: IpAddr,
    /// The session is protected by TLS.
    pub(super) is_tls: bool,
    /// Who the client has shown to be. Among `users`, unless the listener takes every name.
    pub(super) user: Option<String>,
}

impl SessionContext {
    /// Of a client that has just connected.
    pub fn new(settings: Arc<Settings>, listener: Arc<Listener>, client: IpAddr) -> SessionContext {
        SessionContext { settings, listener, client, is_tls: false, user: None }
    }

    /// Whether there is no queue between its clients and the upstreams (rule 15).
    pub(super) fn passes_through(&self) -> bool {
        !self.settings.queue.enabled
    }

    /// Whether STARTTLS can be said.
    pub(super) fn offers_starttls(&self) -> bool {
        let has_it = matches!(self.listener.tls, TlsMode::Opportunistic | TlsMode::StartTls);
        has_it && !self.is_tls && self.listener.certificate.is_some()
    }

    /// Whether STARTTLS has to be said before anything else.
    fn must_start_tls(&self) -> bool {
        self.listener.tls == TlsMode::StartTls && !self.is_tls
    }

    /// Whether AUTH can be said; the reply to it where it cannot.
    pub(super) fn may_authenticate(&self) -> Result<(), ReplyToClient> {
        let Listener { auth, danger_allow_plaintext_auth, .. } = &*self.listener;
        let is_offered = match auth {
            InboundAuth::None => false,
            InboundAuth::Optional | InboundAuth::Required => true,
            InboundAuth::Any => self.listener.allows(self.client),
        };
        // What comes over loopback never left the machine.
        let can_be_overheard = !self.is_tls && !self.client.is_loopback() && !danger_allow_plaintext_auth;
        match (is_offered, can_be_overheard || self.must_start_tls()) {
            (false, _) => Err(reply::AUTH_NOT_OFFERED),
            (true, true) => Err(reply::AUTH_NEEDS_TLS),
            (true, false) if self.user.is_some() => Err(reply::AUTHENTICATED_ALREADY),
            (true, false) => Ok(()),
        }
    }

    /// Whether a message with this reverse-path may begin; the reply to it where it may not.
    pub(super) fn may_send(&self, reverse_path: &ReversePath) -> Result<(), ReplyToClient> {
        if self.must_start_tls() {
            return Err(reply::TLS_REQUIRED);
        }
        let is_known = self.user.is_some();
        match self.listener.auth {
            InboundAuth::Required if !is_known => return Err(reply::AUTH_REQUIRED),
            InboundAuth::Optional if !is_known && !self.listener.allows(self.client) => {
                return Err(reply::AUTH_REQUIRED);
            }
            _ => {}
        }
        let may_use = |user: &User| match reverse_path {
            ReversePath::Null => true,
            ReversePath::Address(address) => {
                user.senders.is_empty() || user.senders.iter().any(|pattern| pattern.matches(address))
            }
        };
        match self.configured_user() {
            Some(user) if !may_use(user) => Err(reply::sender_not_of_user(&user.name)),
            _ => Ok(()),
        }
    }

    /// Whether the client may send to anybody; the reply to its recipients where it may not.
    pub(super) fn may_relay(&self) -> Result<(), ReplyToClient> {
        match self.user.is_some() || self.listener.allows(self.client) {
            true => Ok(()),
            false => Err(reply::may_not_relay(self.client, &self.listener.name)),
        }
    }

    /// The site that all mail of the user or the listener belongs to, if there is one, by the settings in force now: a session
    /// may go on over many reloads.
    pub(super) fn site<'a>(&'a self, now: &'a Settings) -> Option<&'a str> {
        let user = self.user.as_ref().filter(|_| self.listener.auth != InboundAuth::Any);
        let of_user = user.and_then(|name| now.users.get(name)).and_then(|user| user.site.as_deref());
        // One that a reload has taken away gives its mail to the site that it had.
        let listener = now.listeners.iter().find(|one| one.name == self.listener.name);
        of_user.or(listener.unwrap_or(&self.listener).site.as_deref())
    }

    /// The class that the user or the listener gives to all mail, if one does.
    pub(super) fn class(&self) -> Option<Class> {
        self.configured_user().and_then(|user| user.class).or(self.listener.class)
    }

    /// With `any`, a name that happens to be a user's shows nothing.
    fn configured_user(&self) -> Option<&User> {
        match self.listener.auth {
            InboundAuth::Any => None,
            _ => self.settings.users.get(self.user.as_ref()?),
        }
    }
}
