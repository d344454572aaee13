//! PLAIN (RFC 4616) and LOGIN: user name and password as they are.

use super::{Mechanism, SaslError};
use crate::config::Secret;
use secrecy::ExposeSecret;

const ASKS_FOR_MORE: SaslError = SaslError("the server asks for more than a name and a password");

/// PLAIN (RFC 4616).
pub struct Plain {
    username: String,
    password: Secret,
}

impl Plain {
    /// With what the server knows us by.
    pub fn new(username: &str, password: &Secret) -> Plain {
        Plain { username: username.to_owned(), password: password.clone() }
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        Some(format!("\0{}\0{}", self.username, self.password.expose_secret()).into_bytes())
    }

    fn step(&mut self, _challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        Err(ASKS_FOR_MORE)
    }
}

/// LOGIN: no standard, and older than PLAIN. Servers ask for name and password in words of their own, but always in this order.
pub struct Login {
    /// The last one first.
    responses: Vec<Secret>,
}

impl Login {
    /// With what the server knows us by.
    pub fn new(username: &str, password: &Secret) -> Login {
        Login { responses: vec![password.clone(), username.to_owned().into()] }
    }
}

impl Mechanism for Login {
    fn name(&self) -> &'static str {
        "LOGIN"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn step(&mut self, _challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let response = self.responses.pop().ok_or(ASKS_FOR_MORE)?;
        Ok(response.expose_secret().as_bytes().to_vec())
    }
}
