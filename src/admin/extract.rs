//! What handlers take from a request: parts of its path, its query, its body. What is wrong with one is told as every other
//! error is, and names the key that was probably meant.

use super::known_keys::{nearest, of_type};
use super::problem::Problem;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Parts of the path.
pub(super) struct PathPart<T>(pub(super) T);

/// The query. A key that is not known is an error: a filter that is misspelt must not mean everything.
pub(super) struct QueryKeys<T>(pub(super) T);

/// A body in JSON.
pub(super) struct JsonBody<T>(pub(super) T);

/// A body in JSON; without one, or with `null`, the default.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathPart<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<PathPart<T>, Problem> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(part)| PathPart(part)).map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for QueryKeys<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<QueryKeys<T>, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(QueryKeys(query)),
            Err(wrong) => {
                let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
                let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
                let hint = nearest(pairs.iter().map(|(key, _)| key.as_str()), of_type::<T>());
                Err(Problem::new(StatusCode::BAD_REQUEST, wrong.body_text() + &hint))
            }
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<JsonBody<T>, Problem> {
        let (headers, body) = read(request, state).await?;
        must_be_json(&headers)?;
        parse(&body).map(JsonBody)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<OptionalBody<T>, Problem> {
        let (headers, body) = read(request, state).await?;
        if body.trim_ascii().is_empty() {
            return Ok(OptionalBody(T::default()));
        }
        must_be_json(&headers)?;
        let body: Option<T> = parse(&body)?;
        Ok(OptionalBody(body.unwrap_or_default()))
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<(HeaderMap, Bytes), Problem> {
    let headers = request.headers().clone();
    let body = Bytes::from_request(request, state).await;
    body.map(|body| (headers, body)).map_err(|wrong| Problem::new(wrong.status(), wrong.body_text()))
}

/// What the body is said to be, without parameters, in lower case; empty where that is not said, or not in ASCII.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether the body is said to be JSON (RFC 6839 section 3.1): what a form of a page cannot say.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    if is_json(headers) {
        return Ok(());
    }
    let detail = "the body has to be JSON, and the request to say so: `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// 400 where it is no JSON or not what is expected: 422 is a configuration that would be wrong.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list would be taken for the values of the keys, in their order.
    if body.trim_ascii_start().starts_with(b"[") && !of_type::<T>().is_empty() {
        let detail =
            format!("the body is a list; expected an object with these keys: {}", of_type::<T>().join(", "));
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    Json::<T>::from_bytes(body).map(|Json(body)| body).map_err(|wrong| {
        let object: Option<serde_json::Map<String, Value>> = serde_json::from_slice(body).ok();
        let hint = object
            .map(|object| nearest(object.keys().map(String::as_str), of_type::<T>()))
            .unwrap_or_default();
        Problem::new(StatusCode::BAD_REQUEST, wrong.body_text() + &hint)
    })
}
