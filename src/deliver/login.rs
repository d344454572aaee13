//! The login of a session: which mechanisms an upstream's `auth` allows, the strongest first.

use super::capabilities::Capabilities;
use super::oauth2::Token;
use super::peer_cache::PeerCache;
use super::sasl::{
    AuthFailure, Login, Mechanism, Ntlm, OAuthBearer, Plain, ScramSha256, XOAuth2, authenticate,
};
use super::session_error::SessionErrorKind;
use super::session_steps::{SessionStep, SessionSteps};
use super::wire::Wire;
use crate::config::Secret;
use crate::config::settings::{Auth, OAuth2, Upstream};

/// Logs in as the settings say; nothing where they ask for no login.
pub(super) async fn log_in(
    wire: &mut Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    peer_cache: &PeerCache,
    steps: &mut SessionSteps<'_>,
) -> Result<(), AuthFailure> {
    if upstream.auth == Auth::Anonymous {
        return Ok(());
    }
    steps.begin(SessionStep::Auth);
    let mechanism = authenticate_as_configured(wire, offered, upstream, peer_cache, steps).await?;
    steps.done(|| format!("{mechanism} as {}", upstream.auth.username().unwrap_or_default()));
    Ok(())
}

/// Returns the mechanism that was accepted.
async fn authenticate_as_configured(
    wire: &mut Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    peer_cache: &PeerCache,
    steps: &mut SessionSteps<'_>,
) -> Result<&'static str, AuthFailure> {
    if !wire.is_encrypted() && !upstream.danger_allow_plaintext_auth {
        let what = if matches!(upstream.auth, Auth::OAuth2(_)) { "token" } else { "password" };
        let text = format!(
            "AUTH: the connection is not encrypted, so the {what} was not sent; set tls = \"starttls\" or \"implicit\""
        );
        return Err(AuthFailure { kind: SessionErrorKind::Auth, text });
    }
    let within = upstream.connect_timeout;
    match &upstream.auth {
        Auth::Anonymous => Ok(""),
        Auth::Basic { username, password } => {
            let mechanisms = password_mechanisms(username, password, peer_cache.mechanism(&upstream.name));
            let used = authenticate(wire, offered, mechanisms, &[password], within).await?;
            peer_cache.note_mechanism(&upstream.name, used);
            Ok(used)
        }
        Auth::Ntlm { username, password, domain } => {
            let ntlm = Ntlm::new(username, password, domain, peer_cache.clock.wall());
            let mechanisms = ntlm.map(|ntlm| vec![Box::new(ntlm) as Box<dyn Mechanism>]).unwrap_or_default();
            authenticate(wire, offered, mechanisms, &[password], within).await
        }
        Auth::OAuth2(oauth2) => {
            let began = peer_cache.clock.monotonic();
            let token = token(peer_cache, upstream, oauth2, None, steps).await?;
            let refused = match log_in_with_token(wire, offered, upstream, oauth2, &token).await {
                Err(refused) if refused.kind == SessionErrorKind::AuthRefused => refused,
                done => return done,
            };
            // One that was new a moment ago would be refused again, and the account locked.
            if token.is_newer_than(began) {
                return Err(refused);
            }
            let token = self::token(peer_cache, upstream, oauth2, Some(&token), steps).await?;
            log_in_with_token(wire, offered, upstream, oauth2, &token).await
        }
    }
}

async fn token(
    peer_cache: &PeerCache,
    upstream: &Upstream,
    oauth2: &OAuth2,
    refused: Option<&Token>,
    steps: &mut SessionSteps<'_>,
) -> Result<Token, AuthFailure> {
    steps.begin(SessionStep::Token);
    let got = peer_cache.tokens().get(&peer_cache.tls, upstream, oauth2, refused).await;
    let got = got.map_err(|error| {
        let kind = if error.is_refusal { SessionErrorKind::AuthRefused } else { SessionErrorKind::Auth };
        AuthFailure { kind, text: format!("AUTH: {error}") }
    })?;
    steps.done(|| match refused {
        None => format!("for {}, by {}", oauth2.username, oauth2.token_url),
        Some(_) => "another one, because the server has refused the first".to_owned(),
    });
    steps.begin(SessionStep::Auth);
    Ok(got)
}

/// XOAUTH2 first, which the servers that offer both document.
async fn log_in_with_token(
    wire: &mut Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    oauth2: &OAuth2,
    token: &Token,
) -> Result<&'static str, AuthFailure> {
    let (username, secret) = (&oauth2.username, &token.secret);
    let mechanisms: Vec<Box<dyn Mechanism>> = vec![
        Box::new(XOAuth2::new(username, secret)),
        Box::new(OAuthBearer::new(username, secret, &upstream.host, upstream.port)),
    ];
    authenticate(wire, offered, mechanisms, &[secret], upstream.connect_timeout).await
}

/// `known`: the one that this upstream took last. It comes first, so that an account that the server has no SCRAM secret
/// of is not refused once for each connection.
fn password_mechanisms(username: &str, password: &Secret, known: Option<&str>) -> Vec<Box<dyn Mechanism>> {
    let mut mechanisms: Vec<Box<dyn Mechanism>> = Vec::new();
    if let Some(scram) = ScramSha256::new(username, password) {
        mechanisms.push(Box::new(scram));
    }
    mechanisms.push(Box::new(Plain::new(username, password)));
    mechanisms.push(Box::new(Login::new(username, password)));
    mechanisms.sort_by_key(|mechanism| Some(mechanism.name()) != known);
    mechanisms
}
