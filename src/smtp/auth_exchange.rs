//! What is said between AUTH and the check of a password (RFC 4954), without I/O: PLAIN (RFC 4616), and LOGIN, which no RFC
//! describes and most clients know.
//!
//! Promise: names and passwords come out as [`SentCredentials`] alone, whose password no `Debug` shows.

use super::reply::{self, ReplyToClient};
use crate::config::Secret;
use crate::mail::printable::is_printable;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

/// The longest name that can be somebody's.
const MAX_NAME: usize = 255;

/// AUTH as it stands in a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AuthCommand {
    mechanism: InboundMechanism,
    /// The initial response; `=` is an empty one.
    initial: Option<Secret>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InboundMechanism {
    Plain,
    Login,
}

/// Who a client says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentCredentials {
    /// Any text, also an empty one.
    pub name: String,
    /// As the client gave it.
    pub password: Secret,
}

/// An exchange that waits for the client's next line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum AuthExchange {
    /// All of PLAIN.
    Plain,
    /// The name of LOGIN.
    LoginName,
    /// The password of LOGIN.
    LoginPassword { name: String },
}

/// What follows from what a client said.
pub(super) enum AuthStep {
    /// Give this reply and wait for the next line.
    Challenge(ReplyToClient, AuthExchange),
    /// Both are known.
    SentCredentials(SentCredentials),
    /// The exchange is over.
    Refused(ReplyToClient),
}

impl AuthCommand {
    /// Reads what follows the verb.
    pub(super) fn parse(rest: &[u8]) -> Result<AuthCommand, ReplyToClient> {
        let mut words = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let Some(mechanism) = words.next() else { return Err(reply::AUTH_SYNTAX) };
        let mechanism = match mechanism.to_ascii_uppercase().as_slice() {
            b"PLAIN" => InboundMechanism::Plain,
            b"LOGIN" => InboundMechanism::Login,
            _ => return Err(reply::UNKNOWN_MECHANISM),
        };
        let initial = words.next().map(|word| String::from_utf8_lossy(word).into_owned().into());
        match words.next() {
            None => Ok(AuthCommand { mechanism, initial }),
            Some(_) => Err(reply::AUTH_SYNTAX),
        }
    }

    /// Begins the exchange.
    pub(super) fn begin(&self) -> AuthStep {
        let (exchange, challenge) = match self.mechanism {
            InboundMechanism::Plain => (AuthExchange::Plain, reply::AUTH_CONTINUE),
            InboundMechanism::Login => (AuthExchange::LoginName, reply::AUTH_USERNAME),
        };
        match &self.initial {
            None => AuthStep::Challenge(challenge, exchange),
            Some(initial) if initial.expose_secret() == "=" => exchange.on_response(b""),
            Some(initial) => exchange.on_response(initial.expose_secret().as_bytes()),
        }
    }
}

impl AuthExchange {
    /// The client's next line, without its end.
    pub(super) fn on_response(self, response: &[u8]) -> AuthStep {
        if response == b"*" {
            return AuthStep::Refused(reply::AUTH_CANCELLED);
        }
        let Ok(decoded) = STANDARD.decode(response.trim_ascii()) else {
            return AuthStep::Refused(reply::AUTH_NOT_BASE64);
        };
        let text = String::from_utf8_lossy(&decoded);
        match self {
            AuthExchange::Plain => AuthStep::SentCredentials(plain(&text)),
            AuthExchange::LoginName => AuthStep::Challenge(
                reply::AUTH_PASSWORD,
                AuthExchange::LoginPassword { name: text.into_owned() },
            ),
            AuthExchange::LoginPassword { name } => {
                AuthStep::SentCredentials(SentCredentials { name, password: text.into_owned().into() })
            }
        }
    }
}

/// `[authorization name] NUL name NUL password`. Whoever wants to act for somebody else, or says something else, is nobody.
fn plain(text: &str) -> SentCredentials {
    let parts: Vec<&str> = text.split('\0').collect();
    match parts.as_slice() {
        [other, name, password] if other.is_empty() || other == name => {
            SentCredentials { name: (*name).to_owned(), password: (*password).to_owned().into() }
        }
        _ => SentCredentials { name: String::new(), password: String::new().into() },
    }
}

impl SentCredentials {
    /// Whether they can be anybody's.
    pub(super) fn are_plausible(&self) -> bool {
        !self.password.expose_secret().is_empty()
            && (1..=MAX_NAME).contains(&self.name.len())
            && self.name.chars().all(is_printable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(step: AuthStep) -> (String, String) {
        match step {
            AuthStep::SentCredentials(said) => (said.name, said.password.expose_secret().to_owned()),
            AuthStep::Challenge(reply, _) | AuthStep::Refused(reply) => panic!("{reply:?}"),
        }
    }

    fn begin(line: &[u8]) -> AuthStep {
        AuthCommand::parse(line).unwrap().begin()
    }

    // CASES B42
    #[test]
    fn mechanisms_in_any_case_with_and_without_initial_response() {
        let both = ("user".to_owned(), "pass".to_owned());
        assert_eq!(credentials(begin(b" plain AHVzZXIAcGFzcw==")), both);
        assert_eq!(credentials(begin(b"PLAIN dXNlcgB1c2VyAHBhc3M=")), both);
        let AuthStep::Challenge(reply, exchange) = begin(b" Plain") else { panic!() };
        assert_eq!((reply.code, &*reply.text), (334, ""));
        assert_eq!(credentials(exchange.on_response(b"AHVzZXIAcGFzcw==")), both);
        let AuthStep::Challenge(reply, exchange) = begin(b" login dXNlcg==") else { panic!() };
        assert_eq!((reply.code, &*reply.text), (334, "UGFzc3dvcmQ6"));
        assert_eq!(credentials(exchange.on_response(b"cGFzcw==")), both);
        let AuthStep::Challenge(reply, exchange) = begin(b" LOGIN") else { panic!() };
        assert_eq!((reply.code, &*reply.text), (334, "VXNlcm5hbWU6"));
        let AuthStep::Challenge(_, exchange) = exchange.on_response(b"dXNlcg==") else { panic!() };
        assert_eq!(credentials(exchange.on_response(b"cGFzcw==")), both);
    }

    // CASES C7
    #[test]
    fn what_is_no_response_ends_the_exchange() {
        for (response, code) in [(&b"*"[..], 501), (b"!", 501), (b"AHVzZXIAcGFzcw", 501), (b"\xff", 501)] {
            let AuthStep::Refused(reply) = AuthExchange::Plain.on_response(response) else { panic!() };
            assert_eq!(reply.code, code, "{response:?}");
        }
        for (line, code) in [(&b""[..], 501), (b" CRAM-MD5", 504), (b" PLAIN a b", 501)] {
            assert_eq!(AuthCommand::parse(line).unwrap_err().code, code);
        }
    }

    // CASES C9, C12
    #[test]
    fn empty_ones_and_control_characters_are_nobodys() {
        let said = |name: &str, password: &str| SentCredentials {
            name: name.to_owned(),
            password: password.to_owned().into(),
        };
        assert!(said("user", "pass").are_plausible() && said("üser@x", " ").are_plausible());
        for (name, password) in [("", "x"), ("x", ""), ("a\0b", "x"), ("a\nb", "x"), ("a\u{202e}b", "x")] {
            assert!(!said(name, password).are_plausible(), "{name:?}");
        }
        assert!(!said(&"x".repeat(256), "x").are_plausible());
        for text in ["", "user", "user\0pass", "other\0user\0pass", "\0user\0pass\0", "\0\0"] {
            assert!(!plain(text).are_plausible(), "{text:?}");
        }
        assert!(!credentials_plausible(begin(b"PLAIN =")));
    }

    fn credentials_plausible(step: AuthStep) -> bool {
        matches!(step, AuthStep::SentCredentials(said) if said.are_plausible())
    }

    // CASES C17
    #[test]
    fn no_debug_output_shows_a_password() {
        let shown = format!(
            "{:?} {:?}",
            AuthCommand::parse(b"PLAIN AHVzZXIAcGFzcw==").unwrap(),
            plain("\0user\0pass")
        );
        assert!(!shown.contains("pass\"") && !shown.contains("AHVz"), "{shown}");
    }
}
