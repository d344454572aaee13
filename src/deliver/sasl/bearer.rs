//! XOAUTH2 (Google's and Microsoft's) and OAUTHBEARER (RFC 7628): an OAuth 2 access token in place of a password.

use super::{Mechanism, SaslError};
use crate::config::Secret;
use crate::mail::printable;
use secrecy::ExposeSecret;

const ASKS_FOR_MORE: SaslError = SaslError("the server asks for more than a token");

/// Characters of a refusal that are told.
const TOLD: usize = 200;

/// The older of the two, and the one that the large providers have.
pub struct XOAuth2 {
    username: String,
    token: Secret,
    refusal: Option<String>,
}

impl XOAuth2 {
    /// With the token as it was issued.
    pub fn new(username: &str, token: &Secret) -> XOAuth2 {
        XOAuth2 { username: username.to_owned(), token: token.clone(), refusal: None }
    }
}

impl Mechanism for XOAuth2 {
    fn name(&self) -> &'static str {
        "XOAUTH2"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        let token = self.token.expose_secret();
        Some(format!("user={}\x01auth=Bearer {token}\x01\x01", self.username).into_bytes())
    }

    /// The only challenge is a refusal, in JSON. The server wants an empty line before it says 535 (CASES F15).
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        note_refusal(&mut self.refusal, challenge).map(|()| Vec::new())
    }

    fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

/// The standard one.
pub struct OAuthBearer {
    username: String,
    token: Secret,
    host: String,
    port: u16,
    refusal: Option<String>,
}

impl OAuthBearer {
    /// With the token as it was issued, for that server.
    pub fn new(username: &str, token: &Secret, host: &str, port: u16) -> OAuthBearer {
        let (username, host) = (username.to_owned(), host.to_owned());
        OAuthBearer { username, token: token.clone(), host, port, refusal: None }
    }
}

impl Mechanism for OAuthBearer {
    fn name(&self) -> &'static str {
        "OAUTHBEARER"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        let OAuthBearer { username, token, host, port, .. } = self;
        let (username, token) = (username.replace('=', "=3D").replace(',', "=2C"), token.expose_secret());
        let text = format!("n,a={username},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01");
        Some(text.into_bytes())
    }

    /// As with XOAUTH2, but what the server wants is one byte (RFC 7628 section 3.2.3).
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        note_refusal(&mut self.refusal, challenge).map(|()| vec![1])
    }

    fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }
}

fn note_refusal(refusal: &mut Option<String>, challenge: &[u8]) -> Result<(), SaslError> {
    if refusal.is_some() {
        return Err(ASKS_FOR_MORE);
    }
    let text: String = printable(&String::from_utf8_lossy(challenge)).chars().take(TOLD).collect();
    *refusal = Some(text);
    Ok(())
}
