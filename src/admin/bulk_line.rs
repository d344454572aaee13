//! What the answer to a long bulk action is made of.

use super::json::BulkJson;
use super::problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A line of the answer to a bulk action, where `application/x-ndjson` is accepted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BulkLine {
    /// So far.
    Progress(BulkJson),
    /// At the end.
    Result(BulkJson),
    /// It ended because of that.
    Problem(Problem),
}
