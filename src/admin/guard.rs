//! The guard before all routes over TCP. In this order: by which name it was asked, who asks, whether they may, whether a page of
//! somebody else made their browser ask, and the body, which is read whole before a route sees it. docs/admin.md has the attacks that
//! it is for.

use super::asker::{Identity, TcpAsker};
use super::extract::{is_json, media_type};
use super::notices::NoticeKind;
use super::problem::Problem;
use super::request_origin::{host_asked_for, no_other_page};
use super::response_headers;
use super::rights::{Right, is_safe, needed};
use super::sessions::fingerprint;
use super::state::AdminState;
use super::streams::StreamEnds;
use crate::config::Settings;
use crate::mail::printable;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use percent_encoding::NON_ALPHANUMERIC;
use secrecy::ExposeSecret;
use std::net::IpAddr;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Bytes of the body of a request.
const MAX_BODY: usize = 1 << 20;
/// Of one that says its length before: any number of these may be read at the same time. Strangers send no larger ones.
const SMALL_BODY: usize = 16 << 10;
/// For the whole of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A path may be that long in the log.
const MAX_PATH: usize = 200;
/// The cookie of a session.
pub(super) const COOKIE: &str = "postroom_session";
const CSRF_HEADER: &str = "x-csrf-token";
const FORM: &str = "application/x-www-form-urlencoded";

/// The connection that a request came in by.
#[derive(Clone)]
pub(super) struct TcpConnection {
    pub(super) client: IpAddr,
    /// Our own address on it.
    pub(super) local: IpAddr,
    pub(super) is_tls: bool,
    /// Cancelled when the listener is closed.
    pub(super) closed: CancellationToken,
}

/// See the module.
pub(super) async fn guard(State(admin): State<AdminState>, request: Request, next: Next) -> Response {
    // An end that a proxy in front of us sees elsewhere begins no other request here.
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let connection = request.extensions().get::<TcpConnection>().cloned();
    let mut response = match connection {
        Some(connection) => {
            let guarded = let_in(&admin, &connection, request).await;
            match guarded {
                Ok((request, ends)) => {
                    let told = change_of(&request);
                    let response = ends.bound(next.run(request).await);
                    // A page answers an act with the way to where it says what was done.
                    let of_page = response.extensions().get::<NoticeKind>();
                    let is_done = response.status().is_success()
                        || of_page.is_some_and(|kind| *kind != NoticeKind::Refused);
                    if let Some(told) = told.filter(|_| is_done) {
                        tracing::info!(status = response.status().as_u16(), "admin listener: {told}");
                    }
                    response
                }
                Err(refused) => *refused,
            }
        }
        // No connection of ours: a bug. Nobody is let in.
        None => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection is unknown").into_response(),
    };
    if is_chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response_headers::add(&mut response);
    response
}

/// Who wants what changed, for the log.
fn change_of(request: &Request) -> Option<String> {
    let asker = request.extensions().get::<TcpAsker>().filter(|_| !is_safe(request.method()))?;
    let path: String = printable(request.uri().path()).chars().take(MAX_PATH).collect();
    Some(format!("{} {path}, by {}", request.method(), asker.describe(request.headers())))
}

/// The request for its route, and what ends a stream that it may be answered with; or a refusal.
async fn let_in(
    admin: &AdminState,
    connection: &TcpConnection,
    request: Request,
) -> Result<(Request, StreamEnds), Box<Response>> {
    let settings = admin.settings.borrow().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let right = needed(request.method(), route.as_deref());
    let (mut parts, body) = request.into_parts();
    let refuse = |problem: Problem| Box::new(problem.into_response());
    // Health is for anybody, by any name; more than that it is ready is for whoever may read.
    let known = match right {
        Right::Health => judge(admin, connection, &settings, &parts, Right::Read).ok(),
        right => Some(judge(admin, connection, &settings, &parts, right)?),
    };
    let identity = known.clone().unwrap_or(Identity::Nobody);
    let most = if matches!(right, Right::Health | Right::LogIn) { SMALL_BODY } else { MAX_BODY };
    let large_bodies = &admin.logins.large_bodies;
    let body = read_body(&parts.headers, body, most, large_bodies, BODY_TIMEOUT).await.map_err(refuse)?;
    if !is_safe(&parts.method) {
        let csrf_token = csrf_token(admin, &identity);
        let is_api = parts.uri.path().starts_with("/api/");
        no_forgery(&identity, csrf_token, right, is_api, &parts.headers, &body).map_err(refuse)?;
    }
    let before = settings.admin.clone();
    let ends = StreamEnds::new(admin.clone(), connection.closed.clone(), identity, before);
    if let Some(identity) = known {
        let csrf_token = csrf_token(admin, &identity).unwrap_or_default().to_owned();
        parts.extensions.insert(TcpAsker { client: connection.client, identity, csrf_token });
    }
    Ok((Request::from_parts(parts, Body::from(body)), ends))
}

/// Who asks, if they may, and no page of somebody else made their browser do it.
fn judge(
    admin: &AdminState,
    connection: &TcpConnection,
    settings: &Settings,
    parts: &Parts,
    right: Right,
) -> Result<Identity, Box<Response>> {
    let refuse = |problem: Problem| Box::new(problem.into_response());
    let host = host_asked_for(&parts.uri, &parts.headers, settings, connection.local).map_err(refuse)?;
    let identity = match right {
        Right::LogIn => Identity::Nobody,
        _ => {
            let found = identify(admin, settings, &parts.headers).map_err(refuse)?;
            found.ok_or_else(|| Box::new(not_logged_in(parts)))?
        }
    };
    if !identity.may(right) {
        return Err(refuse(may_not()));
    }
    // A page cannot know the token.
    if !matches!(identity, Identity::Token) {
        no_other_page(&parts.method, &parts.headers, &host, connection.is_tls).map_err(refuse)?;
    }
    Ok(identity)
}

/// Who asks; none: somebody who has to log in first.
///
/// # Errors
/// A token that is wrong.
fn identify(
    admin: &AdminState,
    settings: &Settings,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Problem> {
    // A proxy in front may ask for Basic: that is not for us.
    if let Some(said) = headers.get_all(header::AUTHORIZATION).iter().find_map(bearer) {
        return match is_token(settings, said) {
            true => Ok(Some(Identity::Token)),
            false => Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the token of [admin]")),
        };
    }
    let password = settings.admin.password.as_ref();
    let session = session_ids(headers).find_map(|id| admin.logins.sessions.find(id, password));
    Ok(match session {
        Some(session) => Some(Identity::Session(session)),
        None => password.is_none().then_some(Identity::Nobody),
    })
}

/// The token in a header field of that scheme (RFC 6750).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ').unwrap_or((value.to_str().ok()?, ""));
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Compared by fingerprints, in constant time: neither length nor beginning of the token can be found out.
fn is_token(settings: &Settings, said: &str) -> bool {
    let Some(token) = &settings.admin.token else { return false };
    fingerprint(token.expose_secret()).as_slice().ct_eq(fingerprint(said).as_slice()).into()
}

/// What stands in cookies of our name: another program on this host may have set one, too.
fn session_ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, id)| id).take(4)
}

fn not_logged_in(parts: &Parts) -> Response {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        // An act has to be asked for anew, on a page.
        let page = parts.uri.path_and_query().filter(|_| is_safe(&parts.method));
        let page = page.map(|page| page.as_str()).filter(|page| *page != "/");
        let next = page
            .map(|page| format!("?next={}", percent_encoding::utf8_percent_encode(page, NON_ALPHANUMERIC)));
        return Redirect::to(&format!("/login{}", next.unwrap_or_default())).into_response();
    }
    let detail =
        "log in at /login with the password of [admin], or send its token (Authorization: Bearer ...)";
    Problem::new(StatusCode::UNAUTHORIZED, detail).into_response()
}

fn may_not() -> Problem {
    let detail = "there is no password, so nobody may change the configuration here: set password_hash in [admin] to what \
                  `postroom hash` prints, or token for programs; or use the verbs (postroom upstream, reset, reload)";
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// The body, of `most` bytes at most. Large ones, and those that do not say how large they are, wait for a permit of `large`.
async fn read_body(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    large: &Semaphore,
    limit: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body has more than {most} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let text = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = text.and_then(|text| text.parse::<usize>().ok());
    let is_small =
        most <= SMALL_BODY || body.is_end_stream() || length.is_some_and(|length| length <= SMALL_BODY);
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let reading = async {
        let _permit = if is_small { None } else { large.acquire().await.ok() };
        Limited::new(body, most).collect().await
    };
    match tokio::time::timeout(limit, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body ends too early or is none")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// What forms of our pages send. Nobody else can read our pages: a browser shows them to no other origin, and the host is checked.
fn csrf_token<'a>(admin: &'a AdminState, identity: &'a Identity) -> Option<&'a str> {
    match identity {
        Identity::Session(session) => Some(&session.csrf_token),
        Identity::Nobody => admin.logins.csrf_token.as_deref(),
        Identity::Token => None,
    }
}

/// What a browser sends by itself suffices for no change: a page of somebody else can have it sent.
fn no_forgery(
    identity: &Identity,
    csrf_token: Option<&str>,
    right: Right,
    is_api: bool,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(), Problem> {
    let is_form = media_type(headers) == FORM && !is_api;
    let needs_token = match identity {
        Identity::Token => return Ok(()),
        Identity::Session(_) => true,
        // JSON is nothing that a form of somebody else could send.
        Identity::Nobody => is_form && right != Right::LogIn,
    };
    if needs_token {
        let said = headers.get(CSRF_HEADER).map(|value| value.as_bytes().to_vec());
        let said =
            said.or_else(|| form_field(body, "csrf_token").filter(|_| is_form).map(String::into_bytes));
        let is_equal = |said: Vec<u8>| csrf_token.is_some_and(|token| said.ct_eq(token.as_bytes()).into());
        if !said.is_some_and(is_equal) {
            let detail = "who is logged in by a cookie sends csrf_token of GET /api/v1/session with each change: as X-CSRF-Token, or in \
                          the form. A page that was open for long is to be loaded again";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
    }
    let is_nothing = !headers.contains_key(header::CONTENT_TYPE) && body.is_empty();
    match is_nothing || is_json(headers) || is_form {
        true => Ok(()),
        false => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a body is JSON, and says so: Content-Type: application/json",
        )),
    }
}

/// A field of a form, decoded.
fn form_field(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let value = text.split('&').filter_map(|pair| pair.split_once('=')).find(|(field, _)| *field == name)?.1;
    let value = value.replace('+', " ");
    percent_encoding::percent_decode_str(&value).decode_utf8().ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn a_body_that_does_not_come_in_time_is_refused() {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
        let body = Body::from_stream(first.chain(futures_util::stream::pending()));
        let (large, limit) = (Semaphore::new(1), Duration::from_millis(50));
        let refused = read_body(&HeaderMap::new(), body, MAX_BODY, &large, limit).await.unwrap_err();
        assert_eq!(refused.status, 408);
    }

    #[test]
    fn fields_of_forms_are_decoded() {
        let body = b"csrf_token=abc&password=a%26b+c%2B%C3%A9&x";
        assert_eq!(form_field(body, "password").as_deref(), Some("a&b c+\u{e9}"));
        assert_eq!(form_field(body, "csrf_token").as_deref(), Some("abc"));
        assert_eq!(form_field(body, "x"), None);
        assert_eq!(form_field(b"\xff=1", "x"), None);
    }

    #[test]
    fn cookies_of_other_names_are_not_ours() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=b; postroom_session=one;postroom_session=two"),
        );
        headers.append(header::COOKIE, HeaderValue::from_static("xpostroom_session=no; postroom_session"));
        assert_eq!(session_ids(&headers).collect::<Vec<_>>(), ["one", "two"]);
    }
}
