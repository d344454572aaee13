//! Answers in JSON, safe to show on a terminal.

use super::problem::Problem;
use crate::mail::printable::escaped_json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A successful answer in JSON. The values in it are exact; characters that a terminal must not get (controls, marks that
/// change the direction of writing) are escaped, so that `curl` is safe too.
pub(crate) struct JsonResponse<T>(pub T);

impl<T: Serialize> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        match to_json(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        }
    }
}

/// A value in JSON on one line, escaped as in [`JsonResponse`].
///
/// # Errors
/// The value cannot be written as JSON: a mistake in its type.
pub(crate) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| escaped_json(&text))
}

/// As [`to_json`], indented for people.
///
/// # Errors
/// As [`to_json`].
pub(crate) fn to_json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| escaped_json(&text))
}
