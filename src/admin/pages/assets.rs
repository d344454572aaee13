//! The style sheet, the script and the icon. Their addresses have a part that changes with them, so that a browser may keep them.

use crate::admin::problem::Problem;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

const STYLE: &str = include_str!("../../../templates/assets/postroom.css");
const SCRIPT: &str = include_str!("../../../templates/assets/postroom.js");
const ICON: &str = include_str!("../../../templates/assets/icon.svg");

/// Changes with any of the files.
pub(super) static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}", xxh3_64([STYLE, SCRIPT, ICON].concat().as_bytes())));

/// `GET /assets/{name}`.
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match name.as_str() {
        "postroom.css" => ("text/css; charset=utf-8", STYLE),
        "postroom.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such file")),
    };
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=31536000, immutable")];
    Ok((headers, text).into_response())
}
