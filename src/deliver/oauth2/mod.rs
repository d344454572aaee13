//! Access tokens of OAuth 2 (RFC 6749) for upstreams with `auth = "oauth2"`.
//!
//! Promises: a token is fetched by one task, whatever number of connections wait for it; it is fetched anew a while before it
//! expires, and where an upstream refuses it; a refresh token that the authorization server replaces is kept in `tokens.json`
//! before the access token is used; no token or secret reaches a log, an event or an error.

mod https;
mod request;
#[cfg(test)]
mod tests;
mod token_file;
mod tokens;

pub(super) use tokens::Token;
pub use tokens::Tokens;
