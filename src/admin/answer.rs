//! JSON as it leaves the proxy.

use super::problem::Problem;
use crate::mail::printable::escaped_json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A successful answer in JSON. The values in it are exact; what must not be shown as it is (controls, marks that turn the
/// direction of writing) is escaped, so that `curl` shows it safely too.
pub struct Answer<T>(pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match json(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        }
    }
}

/// A value in JSON on one line, safe to show.
///
/// # Errors
/// The value cannot be written as JSON: a mistake in its type.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| escaped_json(&text))
}

/// As [`json`], indented for people.
///
/// # Errors
/// As [`json`].
pub fn json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| escaped_json(&text))
}
