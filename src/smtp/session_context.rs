//! Who the client of a session is, where it came in, and what it may do.

use crate::config::Settings;
use crate::config::settings::Listener;
use crate::mail::Class;
use std::net::IpAddr;
use std::sync::Arc;

/// What is decided when a session begins and holds to its end.
#[derive(Clone, Debug)]
pub struct SessionContext {
    /// The settings that were in force when the session began.
    pub settings: Arc<Settings>,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// The client's address, without its port.
    pub client: IpAddr,
    /// Whether the client may send to anybody: its address is within the listener's `allow`.
    pub may_relay: bool,
}

impl SessionContext {
    /// The site that all mail of the listener belongs to, if there is one.
    pub(super) fn site(&self) -> Option<&str> {
        self.listener()?.site.as_deref()
    }

    fn listener(&self) -> Option<&Listener> {
        self.settings.listeners.iter().find(|one| *one.name == *self.listener)
    }

    /// The class that the listener gives to all its mail, if it does.
    pub(super) fn class(&self) -> Option<Class> {
        self.listener()?.class
    }
}
