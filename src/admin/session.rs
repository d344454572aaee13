//! What a client is told of itself.

use super::asker::{Identity, TcpAsker};
use super::json_response::JsonResponse;
use super::rights::Right;
use axum::Extension;
use serde::Serialize;
use utoipa::ToSchema;

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionJson {
    /// `session`, `token`, `nobody` (there is no password), or `control socket`.
    identity: &'static str,
    /// Of `read`, `mail` and `configuration`.
    may: Vec<&'static str>,
    /// What a request that changes something sends as `X-CSRF-Token`; null where that is not needed.
    csrf_token: Option<String>,
}

/// Show who asks
///
/// And what they may do.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "service",
    responses((status = 200, description = "Who it is", body = SessionJson))
)]
pub(super) async fn session(asker: Option<Extension<TcpAsker>>) -> JsonResponse<SessionJson> {
    let identity = asker.map(|Extension(asker)| asker.identity);
    let may = |right| identity.as_ref().is_none_or(|identity| identity.may(right));
    let words = [(Right::Read, "read"), (Right::Mail, "mail"), (Right::Configuration, "configuration")];
    JsonResponse(SessionJson {
        may: words.into_iter().filter(|(right, _)| may(*right)).map(|(_, word)| word).collect(),
        csrf_token: match &identity {
            Some(Identity::Session(session)) => Some(session.csrf_token.clone()),
            _ => None,
        },
        identity: match &identity {
            None => "control socket",
            Some(Identity::Token) => "token",
            Some(Identity::Session(_)) => "session",
            Some(Identity::Nobody) => "nobody",
        },
    })
}
