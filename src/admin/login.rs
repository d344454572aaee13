//! The pages to log in by, and what a client is told of itself. The other pages of the web admin go through the same guard.

use super::asker::{Identity, TcpAsker};
use super::guard::{COOKIE, TcpConnection, form_field};
use super::json_response::JsonResponse;
use super::logins::LoginRefused;
use super::problem::Problem;
use super::rights::Right;
use super::state::AdminState;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use std::time::Duration;
use utoipa::ToSchema;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;padding:0 1rem}\
label,input,button{display:block;width:100%;box-sizing:border-box;font:inherit;margin:.25rem 0;padding:.4rem}\
label{padding:0}.wrong{color:#a00}:root{color-scheme:light dark}";

/// Nothing but its own style, named by its hash; forms go to this origin alone.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

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

/// The query of a link that logs in.
#[derive(Deserialize)]
pub(super) struct LoginQuery {
    token: Option<String>,
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

/// `GET /login`: the form. With `?token=`: who has that is logged in, once.
pub(super) async fn form(
    State(admin): State<AdminState>,
    Extension(connection): Extension<TcpConnection>,
    Query(query): Query<LoginQuery>,
    headers: HeaderMap,
) -> Response {
    let password = admin.settings.borrow().admin.password.clone();
    let Some(token) = query.token else { return page(StatusCode::OK, "") };
    match admin.logins.by_token(connection.client, password.as_ref(), &token) {
        Ok(id) => logged_in(&connection, &headers, &id),
        Err(refused) => not_logged_in(&refused, "This link is wrong or was used before."),
    }
}

/// `POST /login`, with `password` in a form.
pub(super) async fn log_in(
    State(admin): State<AdminState>,
    Extension(connection): Extension<TcpConnection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let stored = admin.settings.borrow().admin.password.clone();
    let said = form_field(&body, "password").unwrap_or_default();
    match admin.logins.by_password(connection.client, stored.as_ref(), said.into()).await {
        Ok(id) => logged_in(&connection, &headers, &id),
        Err(refused) => not_logged_in(&refused, "This is not the password."),
    }
}

/// `POST /logout`.
pub(super) async fn log_out(
    State(admin): State<AdminState>,
    Extension(asker): Extension<TcpAsker>,
) -> Response {
    if let Identity::Session(session) = &asker.identity {
        admin.logins.sessions.end(session);
    }
    let mut response = Redirect::to("/login").into_response();
    let gone = HeaderValue::from_static("postroom_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    response.headers_mut().insert(header::SET_COOKIE, gone);
    response
}

fn logged_in(connection: &TcpConnection, headers: &HeaderMap, id: &str) -> Response {
    // A proxy in front of us may do TLS. Who lies about it harms their own cookie alone.
    let is_tls = connection.is_tls
        || headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{secure}");
    let mut response = Redirect::to("/").into_response();
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => response.headers_mut().insert(header::SET_COOKIE, cookie),
        Err(_) => return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no cookie").into_response(),
    };
    response
}

fn not_logged_in(refused: &LoginRefused, wrong: &str) -> Response {
    match refused {
        LoginRefused::Wrong => page(StatusCode::UNAUTHORIZED, wrong),
        LoginRefused::NotChecked => {
            page(StatusCode::SERVICE_UNAVAILABLE, "The password could not be checked: try again.")
        }
        LoginRefused::TooMany(wait) => {
            let wait = wait.max(&Duration::from_secs(1)).as_secs_f64().ceil();
            let mut response = page(
                StatusCode::TOO_MANY_REQUESTS,
                &format!("There were too many wrong passwords: try again in {wait} seconds."),
            );
            response.headers_mut().insert(header::RETRY_AFTER, (wait as u64).into());
            response
        }
    }
}

/// `GET /`: where a login leads.
pub(super) async fn home(Extension(asker): Extension<TcpAsker>) -> Response {
    let who = match &asker.identity {
        Identity::Session(session) => format!(
            "<p>You are logged in.</p><form method=\"post\" action=\"/logout\">\
             <input type=\"hidden\" name=\"csrf_token\" value=\"{}\"><button>Log out</button></form>",
            session.csrf_token
        ),
        Identity::Token => "<p>You have the token.</p>".to_owned(),
        Identity::Nobody => {
            "<p>There is no password: you may read and work on mail, and change no configuration.</p>"
                .to_owned()
        }
    };
    let links =
        [("messages", "/api/v1/messages"), ("upstreams", "/api/v1/upstreams"), ("events", "/api/v1/events")];
    let links = links.map(|(name, route)| format!("<li><a href=\"{route}\">{name}</a></li>")).concat();
    html(StatusCode::OK, "Postroom", &format!("{who}<ul>{links}</ul>"))
}

/// `message` is ours: nothing in it needs to be escaped.
fn page(status: StatusCode, message: &str) -> Response {
    let message = match message {
        "" => String::new(),
        message => format!("<p class=\"wrong\" role=\"alert\">{message}</p>"),
    };
    let form = "<form method=\"post\" action=\"/login\"><label for=\"password\">Password</label>\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
         <button>Log in</button></form>";
    html(status, "Postroom: log in", &format!("{message}{form}"))
}

/// A page of which every part is ours.
fn html(status: StatusCode, title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>Postroom</h1>{body}</html>"
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
    ];
    (status, headers, text).into_response()
}
