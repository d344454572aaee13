//! AUTH (RFC 4954). A [`Mechanism`] is the client's side of one exchange as a value, without I/O; `exchange` takes it to a
//! server.
//!
//! Promise: neither a password nor a token, nor anything that holds one, reaches an error, even where a server repeats it.

mod bearer;
mod exchange;
mod ntlm;
mod password;
mod scram;

pub use bearer::{OAuthBearer, XOAuth2};
pub(super) use exchange::{AuthFailure, authenticate};
pub use ntlm::Ntlm;
pub use password::{Login, Plain};
pub use scram::ScramSha256;

/// The client's side of one exchange (RFC 4422 section 5): challenges in, responses out.
pub trait Mechanism: Send {
    /// As a server offers it.
    fn name(&self) -> &'static str;

    /// What is sent along with AUTH. None where the server speaks first.
    fn initial_response(&mut self) -> Option<Vec<u8>>;

    /// The response to a challenge. A challenge that is no base64 comes as an empty one.
    ///
    /// # Errors
    /// It cannot be answered.
    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError>;

    /// Whether a server that says yes may be believed: some mechanisms have the server prove who it is.
    fn is_server_proven(&self) -> bool {
        true
    }

    /// Why the server refuses, where its challenge said that. In words.
    fn refusal(&self) -> Option<&str> {
        None
    }
}

/// A challenge that cannot be answered. In words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SaslError(pub(super) &'static str);

#[cfg(test)]
mod tests;
