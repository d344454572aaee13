//! Logging in and out.

use super::assets;
use super::frame::page_with;
use crate::admin::asker::{Identity, TcpAsker};
use crate::admin::guard::{COOKIE, TcpConnection};
use crate::admin::logins::LoginRefused;
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use askama::Template;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;
use std::time::Duration;

/// The query of a link that logs in, or of one that somebody has to log in for.
#[derive(Deserialize)]
pub(super) struct LoginQuery {
    token: Option<String>,
    /// The page to go to then.
    next: Option<String>,
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct LoginForm {
    #[serde(default)]
    password: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    wrong: String,
    next: String,
    asset_version: &'static str,
}

/// `GET /login`: the form. With `?token=`: who has that is logged in, once.
pub(super) async fn form(
    State(admin): State<AdminState>,
    Extension(connection): Extension<TcpConnection>,
    Query(query): Query<LoginQuery>,
    headers: HeaderMap,
) -> Response {
    let next = own_page(query.next);
    let password = admin.settings.borrow().admin.password.clone();
    let Some(token) = query.token else { return login_page(StatusCode::OK, "", next) };
    match admin.logins.by_token(connection.client, password.as_ref(), &token) {
        Ok(id) => logged_in(&connection, &headers, &id, &next),
        Err(refused) => not_logged_in(&refused, "This link is wrong or was used before.", next),
    }
}

/// `POST /login`, with `password` in a form.
pub(super) async fn log_in(
    State(admin): State<AdminState>,
    Extension(connection): Extension<TcpConnection>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Response {
    let next = own_page(form.next);
    let stored = admin.settings.borrow().admin.password.clone();
    match admin.logins.by_password(connection.client, stored.as_ref(), form.password.into()).await {
        Ok(id) => logged_in(&connection, &headers, &id, &next),
        Err(refused) => {
            if refused == LoginRefused::Wrong {
                let told = admin.logins.wrong_password(connection.client);
                told.into_iter().for_each(|fact| admin.queue.record(vec![fact]));
            }
            not_logged_in(&refused, "This is not the password.", next)
        }
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
    let gone = HeaderValue::from_static("postroom_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    response.headers_mut().insert(header::SET_COOKIE, gone);
    response
}

/// A page of ours, whatever a link says: never one of somebody else.
fn own_page(next: Option<String>) -> String {
    let is_own = |next: &String| {
        // Browsers take `\` for `/`, and leave out line ends and tabs.
        next.starts_with('/')
            && !next.starts_with("//")
            && next.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    next.filter(is_own).unwrap_or_else(|| "/".to_owned())
}

fn logged_in(connection: &TcpConnection, headers: &HeaderMap, id: &str, next: &str) -> Response {
    // A proxy in front of us may do TLS. Who lies about it harms their own cookie alone.
    let is_tls = connection.is_tls
        || headers.get("x-forwarded-proto").is_some_and(|scheme| scheme.as_bytes() == b"https");
    let secure = if is_tls { "; Secure" } else { "" };
    // Lax: who follows a link to a page from elsewhere stays logged in. What changes anything needs the CSRF token beside it.
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let mut response = Redirect::to(next).into_response();
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => response.headers_mut().insert(header::SET_COOKIE, cookie),
        Err(_) => return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no cookie").into_response(),
    };
    response
}

fn not_logged_in(refused: &LoginRefused, wrong: &str, next: String) -> Response {
    match refused {
        LoginRefused::Wrong => login_page(StatusCode::UNAUTHORIZED, wrong, next),
        LoginRefused::NotChecked => {
            login_page(StatusCode::SERVICE_UNAVAILABLE, "The password could not be checked: try again.", next)
        }
        LoginRefused::TooMany(wait) => {
            let wait = wait.max(&Duration::from_secs(1)).as_secs_f64().ceil();
            let wrong = format!("There were too many wrong passwords: try again in {wait} seconds.");
            let mut response = login_page(StatusCode::TOO_MANY_REQUESTS, &wrong, next);
            response.headers_mut().insert(header::RETRY_AFTER, (wait as u64).into());
            response
        }
    }
}

fn login_page(status: StatusCode, wrong: &str, next: String) -> Response {
    page_with(status, &LoginPage { wrong: wrong.to_owned(), next, asset_version: &assets::VERSION })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_no_page_of_somebody_else() {
        for next in ["/", "/queue?q=to:a&state=held", "/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV"] {
            assert_eq!(own_page(Some(next.into())), next);
        }
        for next in [
            "//evil.test",
            "/\\evil.test",
            "https://evil.test",
            "evil",
            "",
            "/\t/evil.test",
            "/a b",
            "/\r\nX: y",
        ] {
            assert_eq!(own_page(Some(next.into())), "/", "{next:?}");
        }
    }
}
