//! What the answer to a test of an upstream is made of, and what is asked.

use crate::deliver::upstream_test::{TestResult, TestStep};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of the request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestQuery {
    /// Who gets a test message; none: none is sent.
    #[serde(default)]
    #[schema(format = "email")]
    pub(crate) to: Option<String>,
    /// Its sender, where the settings name none.
    #[serde(default)]
    #[schema(format = "email")]
    pub(crate) from: Option<String>,
}

/// The answer in one piece.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestReport {
    pub(super) upstream: String,
    pub(super) ok: bool,
    /// Milliseconds, of all of it.
    pub(super) ms: u64,
    /// In their order.
    pub(super) steps: Vec<TestStep>,
}

/// A line of the answer, where `application/x-ndjson` is accepted.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TestLine {
    /// When it has ended.
    Step(TestStep),
    /// At the end.
    Result(TestResult),
}
