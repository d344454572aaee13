//! Answers in JSON, safe to show on a terminal.

use super::problem::Problem;
use super::safe_json::to_json;
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
