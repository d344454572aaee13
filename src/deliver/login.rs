//! The login of a session: which mechanisms an upstream's `auth` allows, the strongest first.

use super::capabilities::Capabilities;
use super::peer_cache::PeerCache;
use super::sasl::{AuthFailure, Login, Mechanism, Ntlm, Plain, ScramSha256, authenticate};
use super::session_error::SessionErrorKind;
use super::wire::Wire;
use crate::config::Secret;
use crate::config::settings::{Auth, Upstream};

/// What carries a password out in clear text stays at home.
const NOT_ENCRYPTED: &str = "AUTH: the connection is not encrypted, so the password was not sent; set tls = \"starttls\" or \"implicit\"";

/// Logs in as the settings say; nothing where they ask for no login.
pub(super) async fn log_in(
    wire: &mut Wire,
    offered: &Capabilities,
    upstream: &Upstream,
    peer_cache: &PeerCache,
) -> Result<(), AuthFailure> {
    if upstream.auth == Auth::Anonymous {
        return Ok(());
    }
    if !wire.is_encrypted() && !upstream.danger_allow_plaintext_auth {
        return Err(AuthFailure { kind: SessionErrorKind::Auth, text: NOT_ENCRYPTED.to_owned() });
    }
    let within = upstream.connect_timeout;
    match &upstream.auth {
        Auth::Anonymous => Ok(()),
        Auth::Basic { username, password } => {
            let mechanisms = password_mechanisms(username, password, peer_cache.mechanism(&upstream.name));
            let used = authenticate(wire, offered, mechanisms, &[password], within).await?;
            peer_cache.note_mechanism(&upstream.name, used);
            Ok(())
        }
        Auth::Ntlm { username, password, domain } => {
            let ntlm = Ntlm::new(username, password, domain, peer_cache.clock.wall());
            let mechanisms = ntlm.map(|ntlm| vec![Box::new(ntlm) as Box<dyn Mechanism>]).unwrap_or_default();
            authenticate(wire, offered, mechanisms, &[password], within).await.map(drop)
        }
    }
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
