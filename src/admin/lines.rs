//! Answers of lines of JSON that come as things go on, for who asks for them with `Accept: application/x-ndjson`.

use super::safe_json::to_json;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::Stream;
use serde::Serialize;
use std::convert::Infallible;

const NDJSON: &str = "application/x-ndjson";

/// Whether the client asks for them.
pub(super) fn are_accepted(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains(NDJSON))
}

/// A line for each.
pub(super) fn response<T: Serialize>(values: impl Stream<Item = T> + Send + 'static) -> Response {
    let lines = values.map(|value| Ok::<_, Infallible>(to_json(&value).unwrap_or_default() + "\n"));
    ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
}
