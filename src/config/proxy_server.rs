//! What clients of the proxy need that read no configuration (`postroom sendmail`).

use super::host::{self, Host};
use super::hostname;
use super::load::default_upstream;
use super::settings::{TlsMode, Upstream};

/// The proxy that mail is handed to, written as the `host` of an upstream is: in clear text, without AUTH.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn proxy_server(text: &str) -> Result<Upstream, String> {
    match Host::parse(text) {
        Ok(host) => Ok(Upstream { tls: TlsMode::None, ..default_upstream("proxy", &host.name, host.port) }),
        Err(error) => Err(format!("{}; {}", error.wrong, error.right.as_deref().unwrap_or(host::FORM))),
    }
}

/// What this machine calls itself where nothing else is configured: its full name, else an address literal.
pub fn name_of_this_machine() -> String {
    hostname::of_this_machine()
}

/// Whether that is the name of a host, as EHLO may say it.
pub fn is_host_name(name: &str) -> bool {
    host::is_name(name)
}
