//! What is wrong, as a page for who asked for a page.

use super::assets;
use super::frame::POLICY;
use crate::admin::problem::Problem;
use askama::Template;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    problem: Problem,
    asset_version: &'static str,
}

/// Answers with a page in place of a problem, for browsers; what asks for the API gets what it gets.
pub(in crate::admin) async fn in_html(request: Request, next: Next) -> Response {
    let accepts =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_page = accepts.contains("text/html") && !request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>().filter(|_| is_page);
    let page =
        problem.and_then(|problem| ProblemPage { problem, asset_version: &assets::VERSION }.render().ok());
    let Some(page) = page else { return response };
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response.map(|_| Body::from(page))
}
