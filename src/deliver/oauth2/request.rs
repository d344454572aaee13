//! The request for an access token (RFC 6749 sections 4.4 and 6), and what is answered.

use super::https::post_form;
use crate::config::Secret;
use crate::config::settings::OAuth2;
use crate::deliver::tls::Tls;
use crate::mail::printable;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// Where the server does not say how long a token lives.
const USUAL_LIFE: Duration = Duration::from_secs(60 * 60);

/// Characters of a stranger's text that are told.
const TOLD: usize = 300;

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the server issued.
pub(super) struct Issued {
    pub(super) access_token: Secret,
    pub(super) life: Duration,
    /// In place of the one that was used.
    pub(super) refresh_token: Option<Secret>,
}

/// Why there is no token, in words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(in crate::deliver) struct TokenError {
    pub(in crate::deliver) text: String,
    /// The server said no, and will say so again.
    pub(in crate::deliver) is_refusal: bool,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Asks for a token with a refresh token; without one, in the name of the client itself.
pub(super) async fn request(
    tls: &Tls,
    roots: Option<&Path>,
    oauth2: &OAuth2,
    refresh_token: Option<&Secret>,
) -> Result<Issued, TokenError> {
    let error = |text: String, is_refusal: bool| TokenError {
        text: format!("token from {}: {text}", oauth2.token_url),
        is_refusal,
    };
    let posted = post_form(tls, roots, &oauth2.token_url, form(oauth2, refresh_token)).await;
    let (status, body) = posted.map_err(|why| error(why, false))?;
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        return Err(error(format!("the server answered {status}, and no token"), status.is_client_error()));
    };
    if let Some(access_token) = answer.access_token.filter(|token| !token.is_empty())
        && status.is_success()
    {
        // Some servers write the number in quotes.
        let seconds =
            answer.expires_in.and_then(|life| life.as_u64().or_else(|| life.as_str()?.parse().ok()));
        return Ok(Issued {
            access_token: access_token.into(),
            life: seconds.map_or(USUAL_LIFE, Duration::from_secs),
            refresh_token: answer.refresh_token.filter(|token| !token.is_empty()).map(Secret::from),
        });
    }
    let code = answer.error.unwrap_or_else(|| format!("{status}, and no token"));
    let said = format!("{code}: {}", answer.error_description.unwrap_or_default());
    let mut said: String = printable(said.trim_end_matches([':', ' '])).chars().take(TOLD).collect();
    for secret in
        [Some(&oauth2.client_secret), Some(&oauth2.refresh_token), refresh_token].into_iter().flatten()
    {
        if !secret.expose_secret().is_empty() {
            said = said.replace(secret.expose_secret(), "***");
        }
    }
    let hint = match code.as_str() {
        "invalid_grant" => {
            "; the refresh token has expired or was withdrawn: get a new one and give it as refresh_token"
        }
        "invalid_client" | "unauthorized_client" => {
            "; check client_id and client_secret, and what the client may do there"
        }
        "invalid_scope" => "; check scope",
        _ => "",
    };
    Err(error(format!("refused: {said}{hint}"), !status.is_server_error()))
}

fn form(oauth2: &OAuth2, refresh_token: Option<&Secret>) -> String {
    let OAuth2 { client_id, client_secret, scope, .. } = oauth2;
    let grant = if refresh_token.is_some() { "refresh_token" } else { "client_credentials" };
    let fields = [
        ("grant_type", grant),
        ("client_id", client_id),
        ("client_secret", client_secret.expose_secret()),
        ("refresh_token", refresh_token.map_or("", ExposeSecret::expose_secret)),
        ("scope", scope),
    ];
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let pair = |(key, value): &(&str, &str)| format!("{key}={}", utf8_percent_encode(value, RESERVED));
    given.map(pair).collect::<Vec<_>>().join("&")
}
