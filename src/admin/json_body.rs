//! Bodies of requests. What is wrong with one is told as every other error is.

use super::problem::Problem;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

/// A body in JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Problem> {
        let read: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        read.map(|Json(body)| JsonBody(body)).map_err(|wrong| {
            // 422 is a configuration that would be wrong.
            let status = Some(wrong.status()).filter(|status| *status != StatusCode::UNPROCESSABLE_ENTITY);
            Problem::new(status.unwrap_or(StatusCode::BAD_REQUEST), wrong.body_text())
        })
    }
}
