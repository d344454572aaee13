//! What every page shows around its content, and how a page becomes a response.

use super::assets;
use super::modes::{self, ModeLine};
use crate::admin::asker::{Identity, TcpAsker};
use crate::admin::notices::PageNotice;
use crate::admin::problem::Problem;
use crate::admin::rights::Right;
use crate::admin::state::AdminState;
use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use futures_util::StreamExt;
use futures_util::stream::Stream;
use serde::Deserialize;
use std::convert::Infallible;

/// Our own style, script, pictures and event stream; forms go to this origin alone.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages that every page links to: path and name.
const NAVIGATION: &[(&str, &str)] = &[
    ("/", "Dashboard"),
    ("/queue", "Queue"),
    ("/sent", "Sent"),
    ("/events", "Events"),
    ("/upstreams", "Upstreams"),
    ("/settings", "Settings"),
    ("/send", "Send a test"),
    ("/configuration", "Configuration"),
];

/// What stands around the content of a page.
pub(super) struct PageFrame {
    path: String,
    /// What each form sends as `csrf_token`.
    pub(super) csrf_token: String,
    /// Who is logged in may log out.
    pub(super) logged_in: bool,
    pub(super) may_configure: bool,
    pub(super) modes: Vec<ModeLine>,
    /// Of the act that led here.
    pub(super) notice: Option<PageNotice>,
    pub(super) asset_version: &'static str,
    pub(super) version: &'static str,
}

/// An entry of the navigation.
pub(super) struct NavigationEntry {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) is_current: bool,
}

impl PageFrame {
    pub(super) fn navigation(&self) -> impl Iterator<Item = NavigationEntry> {
        NAVIGATION.iter().map(|(path, name)| {
            let is_beneath =
                *path != "/" && self.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            NavigationEntry { path, name, is_current: self.path == *path || is_beneath }
        })
    }
}

#[derive(Deserialize)]
struct NoticeQuery {
    notice: Option<String>,
}

impl FromRequestParts<AdminState> for PageFrame {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &AdminState) -> Result<PageFrame, Problem> {
        let asker = parts.extensions.get::<TcpAsker>().cloned();
        // The guard lets nobody through without: a bug.
        let asker =
            asker.ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "who asks is unknown"))?;
        let query = Query::<NoticeQuery>::try_from_uri(&parts.uri).ok();
        let notice = query.and_then(|Query(query)| admin.logins.notices.take(&query.notice?));
        Ok(PageFrame {
            path: parts.uri.path().to_owned(),
            csrf_token: asker.csrf_token,
            logged_in: matches!(asker.identity, Identity::Session(_)),
            may_configure: asker.identity.may(Right::Configuration),
            modes: modes::lines(&admin.settings.borrow()),
            notice,
            asset_version: &assets::VERSION,
            version: env!("CARGO_PKG_VERSION"),
        })
    }
}

/// A page, made from its template.
pub(super) fn page(template: &impl Template) -> Response {
    page_with(StatusCode::OK, template)
}

/// A page with another status than 200.
pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            let policy = [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))];
            (status, policy, Html(text)).into_response()
        }
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

/// A page whose pieces come as things go on. They are HTML, made from templates.
pub(super) fn page_in_pieces(pieces: impl Stream<Item = String> + Send + 'static) -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))];
    let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
    (policy, Html(body)).into_response()
}

/// After an act: to the page at `path`, which shows the notice.
pub(super) fn go_to(admin: &AdminState, path: &str, notice: PageNotice) -> Response {
    let (mark, kind) = (if path.contains('?') { '&' } else { '?' }, notice.kind);
    let mut response = match admin.logins.notices.keep(notice) {
        Some(name) => Redirect::to(&format!("{path}{mark}notice={name}")).into_response(),
        None => Redirect::to(path).into_response(),
    };
    // For the guard, which logs what was done.
    response.extensions_mut().insert(kind);
    response
}
