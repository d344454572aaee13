//! SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: the password never leaves, and the server proves that it
//! knows it, too.
//!
//! Known limit: name and password are not prepared with SASLprep. Text that keyboards make (composed, without
//! compatibility characters) is the same with and without it.

use super::{Mechanism, SaslError};
use crate::config::Secret;
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::ExposeSecret;
use std::num::NonZeroU32;

/// Bytes of our part of the nonce.
const NONCE_BYTES: usize = 24;

/// Rounds of hashing that a server may ask for: a third of a second. A hostile one would ask for hours.
const MOST_ITERATIONS: u32 = 1_000_000;

/// `n,,`: no channel binding, no authorization identity.
const GS2_HEADER: &str = "n,,";

const MALFORMED: SaslError = SaslError("the server's challenge is no SCRAM message");
const OTHER_NONCE: SaslError = SaslError("the server's challenge answers another login");
const NOT_PROVEN: SaslError =
    SaslError("the server did not prove that it knows the password: it may be an impostor");

/// SCRAM-SHA-256.
pub struct ScramSha256 {
    username: String,
    password: Secret,
    nonce: String,
    state: ScramState,
}

enum ScramState {
    /// The server has said nothing yet.
    Begun,
    /// The server has to prove itself with this key and message.
    ProofSent {
        server_key: hmac::Tag,
        auth_message: String,
    },
    Proven,
    Failed,
}

impl ScramSha256 {
    /// None where the system has no randomness.
    pub fn new(username: &str, password: &Secret) -> Option<ScramSha256> {
        let mut random = [0; NONCE_BYTES];
        rand::fill(&mut random).ok()?;
        Some(ScramSha256::with_nonce(username, password, BASE64.encode(random)))
    }

    /// With our part of the nonce given.
    pub fn with_nonce(username: &str, password: &Secret, nonce: String) -> ScramSha256 {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        ScramSha256 { username, password: password.clone(), nonce, state: ScramState::Begun }
    }

    fn first_message(&self) -> String {
        format!("n={},r={}", self.username, self.nonce)
    }

    /// Answers the server's nonce, salt and number of iterations with the proof.
    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, SaslError> {
        let mut attributes = server_first.split(',');
        let mut next = |name: &str| attributes.next().and_then(|text| text.strip_prefix(name));
        // An extension that we would have to know stands first (`m=`).
        let nonce = next("r=").ok_or(MALFORMED)?;
        let salt = next("s=").and_then(|salt| BASE64.decode(salt).ok()).ok_or(MALFORMED)?;
        let iterations: NonZeroU32 = next("i=").and_then(|number| number.parse().ok()).ok_or(MALFORMED)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(OTHER_NONCE);
        }
        if iterations.get() > MOST_ITERATIONS {
            return Err(SaslError("the server asks for too much computation"));
        }
        let mut salted_password = [0; digest::SHA256_OUTPUT_LEN];
        let password = self.password.expose_secret().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted_password);
        let salted_password = hmac::Key::new(hmac::HMAC_SHA256, &salted_password);
        let client_key = hmac::sign(&salted_password, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let server_key = hmac::sign(&salted_password, b"Server Key");

        let without_proof = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let auth_message = format!("{},{server_first},{without_proof}", self.first_message());
        let stored_key = hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref());
        let signature = hmac::sign(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        self.state = ScramState::ProofSent { server_key, auth_message };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }
}

impl Mechanism for ScramSha256 {
    fn name(&self) -> &'static str {
        "SCRAM-SHA-256"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        Some(format!("{GS2_HEADER}{}", self.first_message()).into_bytes())
    }

    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let state = std::mem::replace(&mut self.state, ScramState::Failed);
        let text = str::from_utf8(challenge).map_err(|_| MALFORMED)?;
        match state {
            ScramState::Begun => self.prove(text),
            // `e=` says why the server refuses; its reply to the empty response will, too.
            ScramState::ProofSent { .. } if text.starts_with("e=") => Ok(Vec::new()),
            ScramState::ProofSent { server_key, auth_message } => {
                let signature = text.split(',').next().and_then(|first| first.strip_prefix("v="));
                let signature = signature.and_then(|text| BASE64.decode(text).ok()).ok_or(MALFORMED)?;
                let server_key = hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref());
                hmac::verify(&server_key, auth_message.as_bytes(), &signature).map_err(|_| NOT_PROVEN)?;
                self.state = ScramState::Proven;
                Ok(Vec::new())
            }
            ScramState::Proven | ScramState::Failed => Err(MALFORMED),
        }
    }

    fn is_server_proven(&self) -> bool {
        matches!(self.state, ScramState::Proven)
    }
}
