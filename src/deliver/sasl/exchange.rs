//! A mechanism taken to a server: which one is used, AUTH, its challenges and responses, and what the reply means.

use super::{Mechanism, SaslError};
use crate::config::Secret;
use crate::deliver::capabilities::Capabilities;
use crate::deliver::session_error::SessionErrorKind;
use crate::deliver::too_many_connections::is_too_many_connections;
use crate::deliver::wire::{Wire, WireError};
use crate::mail::Reply;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::ExposeSecret;
use std::time::Duration;

/// More challenges than any mechanism has.
const MOST_CHALLENGES: usize = 5;

/// Why there is no login.
#[derive(Debug)]
pub(in crate::deliver) struct AuthFailure {
    pub(in crate::deliver) kind: SessionErrorKind,
    pub(in crate::deliver) text: String,
}

/// Logs in with the first mechanism that is offered, and says which that was. The next one is tried where the server does
/// not know it after all, and behind SCRAM where the account may be one that it has no SCRAM secret of. `secrets` are masked
/// in the error. The error's kind says whether the server refused the credentials or AUTH failed in another way.
pub(in crate::deliver) async fn authenticate(
    wire: &mut Wire,
    offered: &Capabilities,
    mechanisms: Vec<Box<dyn Mechanism>>,
    secrets: &[&Secret],
    within: Duration,
) -> Result<&'static str, AuthFailure> {
    let wanted: Vec<&str> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
    let mut last = AuthFailure {
        kind: SessionErrorKind::Auth,
        text: not_offered(offered, &wanted, wire.is_encrypted()),
    };
    for mechanism in mechanisms.into_iter().filter(|mechanism| offered.offers(mechanism.name())) {
        let name = mechanism.name();
        let mut exchange = Exchange { wire, mechanism, sent: Vec::new(), within };
        let said = exchange.run().await;
        let Exchange { mechanism, sent, .. } = exchange;
        let masked = |text: String| redacted(text, &sent, secrets);
        wire.transcript.rewrite(masked);
        let reply = match said {
            Ok(reply) if reply.is_positive() && mechanism.is_server_proven() => return Ok(name),
            Ok(reply) if reply.is_positive() => {
                let why = "the server says yes without having proved that it knows the password";
                return Err(AuthFailure {
                    kind: SessionErrorKind::Auth,
                    text: format!("AUTH {name}: {why}"),
                });
            }
            Ok(reply) => reply,
            Err(why) => {
                let text = masked(format!("AUTH {name}: {why}"));
                return Err(AuthFailure { kind: SessionErrorKind::Auth, text });
            }
        };
        let why = mechanism.refusal().map(|why| format!(" ({why})")).unwrap_or_default();
        last =
            AuthFailure { kind: kind_of(&reply), text: masked(format!("AUTH {name} refused: {reply}{why}")) };
        if reply.code != 504 && !(name.starts_with("SCRAM-") && reply.is_permanent()) {
            break;
        }
    }
    Err(last)
}

/// 454 again and again is what servers say of an account that they have throttled or locked; 421 speaks of the session
/// alone, and where a server counts connections by account, the account is in no danger.
fn kind_of(reply: &Reply) -> SessionErrorKind {
    match reply.code {
        _ if is_too_many_connections(reply) => SessionErrorKind::TooManyConnections,
        421 => SessionErrorKind::Auth,
        _ if reply.is_transient() || reply.is_permanent() => SessionErrorKind::AuthRefused,
        _ => SessionErrorKind::Auth,
    }
}

/// None of the mechanisms is offered.
fn not_offered(offered: &Capabilities, wanted: &[&str], encrypted: bool) -> String {
    let words = match offered.auth_offered.as_slice() {
        [] => "the server offers no AUTH".to_owned(),
        others => {
            format!(
                "the server offers AUTH {}, but {}{}",
                others.join(", "),
                none_of(wanted),
                other_auth(offered)
            )
        }
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

/// The settings for what it offers instead.
fn other_auth(offered: &Capabilities) -> String {
    let settings = [
        ("PLAIN", "basic"),
        ("LOGIN", "basic"),
        ("NTLM", "ntlm"),
        ("XOAUTH2", "oauth2"),
        ("OAUTHBEARER", "oauth2"),
    ];
    let mut fitting: Vec<String> = settings
        .iter()
        .filter(|(mechanism, _)| offered.offers(mechanism))
        .map(|(_, auth)| format!("auth = \"{auth}\""))
        .collect();
    fitting.dedup();
    match fitting.as_slice() {
        [] => String::new(),
        fitting => format!(" (that would be {})", fitting.join(" or ")),
    }
}

fn none_of(wanted: &[&str]) -> String {
    match wanted {
        [one] => format!("not {one}"),
        [first, rest @ ..] => format!("neither {first} nor {}", rest.join(" nor ")),
        [] => "none that is wanted".to_owned(),
    }
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    mechanism: Box<dyn Mechanism>,
    /// Responses as they left.
    sent: Vec<String>,
    within: Duration,
}

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("{0}")]
    Wire(WireError),
    #[error("{0}")]
    Sasl(#[from] SaslError),
}

impl Exchange<'_> {
    /// The server's last word.
    async fn run(&mut self) -> Result<Reply, ExchangeError> {
        let name = self.mechanism.name();
        let command = match self.mechanism.initial_response() {
            Some(response) => format!("AUTH {name} {}\r\n", self.encode(&response)),
            None => format!("AUTH {name}\r\n"),
        };
        let mut reply = self.command(&command).await?;
        for _ in 0..MOST_CHALLENGES {
            if reply.code != 334 {
                return Ok(reply);
            }
            // Some servers ask in words: who needs no challenge takes them, who needs one sees an empty one.
            let challenge = reply.lines.last().and_then(|text| BASE64.decode(text.trim()).ok());
            let response = self.mechanism.step(&challenge.unwrap_or_default())?;
            let line = self.encode(&response);
            reply = self.command(&format!("{line}\r\n")).await?;
        }
        Err(SaslError("the server asks for ever more").into())
    }

    fn encode(&mut self, response: &[u8]) -> String {
        let line = BASE64.encode(response);
        self.sent.push(line.clone());
        line
    }

    async fn command(&mut self, line: &str) -> Result<Reply, ExchangeError> {
        self.wire.command(line, self.within).await.map_err(ExchangeError::Wire)
    }
}

/// The text without the secrets, plain or as any response carried them.
fn redacted(mut text: String, sent: &[String], secrets: &[&Secret]) -> String {
    for secret in secrets.iter().map(|secret| secret.expose_secret()) {
        for form in [BASE64.encode(secret), secret.to_owned()] {
            mask(&mut text, &form);
        }
    }
    sent.iter().for_each(|line| mask(&mut text, line));
    text
}

fn mask(text: &mut String, secret: &str) {
    if !secret.is_empty() {
        *text = text.replace(secret, "***");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_repeats_is_masked() {
        let text = "501 AUTH PLAIN AGFwcABzM2NyZXQ= or czNjcmV0 or s3cret?".to_owned();
        let (sent, secret) = (["AGFwcABzM2NyZXQ=".to_owned()], Secret::from("s3cret".to_owned()));
        assert_eq!(redacted(text, &sent, &[&secret]), "501 AUTH PLAIN *** or *** or ***?");
    }
}
