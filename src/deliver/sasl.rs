//! AUTH (RFC 4954) with user name and password: PLAIN, else LOGIN.
//!
//! Promise: neither password nor anything that holds it reaches an error, even where a server repeats it.

use super::capabilities::Capabilities;
use super::session_error::SessionErrorKind;
use super::too_many_connections::is_too_many_connections;
use super::wire::{Wire, WireError};
use crate::config::Secret;
use crate::mail::Reply;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::Auth;
use secrecy::ExposeSecret;
use std::time::Duration;

/// Logs in. The error says whether the server refused the credentials or AUTH failed in another way.
pub(super) async fn authenticate(
    wire: &mut Wire,
    offered: &Capabilities,
    username: &str,
    password: &Secret,
    within: Duration,
) -> Result<(), (SessionErrorKind, String)> {
    let credentials = Credentials::new(username.to_owned(), password.expose_secret().to_owned());
    let mut mechanisms = Vec::new();
    if offered.auth_plain {
        mechanisms.push(Mechanism::Plain);
    }
    if offered.auth_login {
        mechanisms.push(Mechanism::Login);
    }
    let mut last = (SessionErrorKind::Auth, not_offered(offered, wire.is_encrypted()));
    for mechanism in mechanisms {
        let said = exchange(wire, mechanism, &credentials, within).await;
        let reply = match said {
            Ok(reply) if reply.is_positive() => return Ok(()),
            Ok(reply) => reply,
            Err(fault) => {
                return Err((
                    SessionErrorKind::Auth,
                    redacted(format!("AUTH {mechanism}: {fault}"), &credentials),
                ));
            }
        };
        // 454 again and again is what servers say of an account that they have throttled or locked; 421 speaks of the
        // session alone, and where a server counts connections by account, the account is in no danger.
        let kind = match reply.code {
            _ if is_too_many_connections(&reply) => SessionErrorKind::TooManyConnections,
            421 => SessionErrorKind::Auth,
            _ if reply.is_transient() || reply.is_permanent() => SessionErrorKind::AuthRefused,
            _ => SessionErrorKind::Auth,
        };
        last = (kind, redacted(format!("AUTH {mechanism} refused: {reply}"), &credentials));
        // 504: it does not know the mechanism after all. Everything else would be the same with the next one.
        if reply.code != 504 {
            break;
        }
    }
    Err(last)
}

/// Neither PLAIN nor LOGIN is offered.
fn not_offered(offered: &Capabilities, encrypted: bool) -> String {
    let words = match offered.auth_offered.as_slice() {
        [] => "the server offers no AUTH".to_owned(),
        others => format!("the server offers AUTH {}, but neither PLAIN nor LOGIN", others.join(", ")),
    };
    match (encrypted, offered.starttls) {
        (false, true) => format!("{words} on a connection without TLS; set tls = \"starttls\""),
        (false, false) => format!("{words} on a connection without TLS"),
        (true, _) if offered.auth_offered.is_empty() => {
            format!("{words}; if it needs none, set auth = \"anonymous\"")
        }
        (true, _) => words,
    }
}

async fn exchange(
    wire: &mut Wire,
    mechanism: Mechanism,
    credentials: &Credentials,
    within: Duration,
) -> Result<Reply, WireError> {
    // Servers ask for name and password in words of their own, but always in this order.
    let challenges: &[&str] = match mechanism {
        Mechanism::Login => &["Username", "Password"],
        _ => &[],
    };
    let render = |challenge: Option<&str>| {
        render(mechanism, credentials, challenge)
            .ok_or_else(|| WireError::Protocol("the user name or password cannot be sent".to_owned()))
    };
    let mut reply = wire.command(&render(None)?, within).await?;
    for challenge in challenges {
        if reply.code != 334 {
            return Ok(reply);
        }
        reply = wire.command(&render(Some(challenge))?, within).await?;
    }
    match reply.code {
        334 => Err(WireError::Protocol("the server asks for more than a name and a password".to_owned())),
        _ => Ok(reply),
    }
}

fn render(mechanism: Mechanism, credentials: &Credentials, challenge: Option<&str>) -> Option<String> {
    let auth = Auth::new(mechanism, credentials.clone(), challenge.map(str::to_owned)).ok()?;
    Some(auth.to_string())
}

/// The text without the password, plain or as any command carried it.
fn redacted(mut text: String, credentials: &Credentials) -> String {
    let plain = Mechanism::Login.response(credentials, Some("Password")).ok();
    let commands = [
        render(Mechanism::Plain, credentials, None),
        render(Mechanism::Login, credentials, Some("Password")),
    ];
    let arguments = commands.iter().flatten().filter_map(|command| command.split_whitespace().last());
    for secret in arguments.chain(plain.as_deref()).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_masked() {
        let credentials = Credentials::new("app".to_owned(), "s3cret".to_owned());
        let text = "501 AUTH PLAIN AGFwcABzM2NyZXQ= or czNjcmV0 or s3cret?".to_owned();
        assert_eq!(redacted(text, &credentials), "501 AUTH PLAIN *** or *** or ***?");
    }
}
