//! What came and went over the last hour, day or week.

use super::extract::QueryKeys;
use super::json_response::JsonResponse;
use super::state::AdminState;
use crate::metrics::{Bucket, Window};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The query of it.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// How far back: an hour unless it is given.
    #[param(inline)]
    window: Window,
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryJson {
    window: Window,
    /// How long each bucket is.
    bucket_seconds: u32,
    /// Oldest first, one for each part of the window, with zeros where nothing was; the last one is not over.
    buckets: Vec<Bucket>,
}

/// Show what came and went
///
/// Over the last hour by minutes, the last day by quarters of an hour or the last week by hours; also over restarts.
#[utoipa::path(
    get, path = "/api/v1/stats/history", tag = "service", params(HistoryQuery),
    responses((status = 200, description = "The series", body = HistoryJson))
)]
pub(super) async fn show(
    State(admin): State<AdminState>,
    QueryKeys(HistoryQuery { window }): QueryKeys<HistoryQuery>,
) -> JsonResponse<HistoryJson> {
    JsonResponse(HistoryJson {
        window,
        bucket_seconds: window.bucket_seconds(),
        buckets: admin.series(window),
    })
}
