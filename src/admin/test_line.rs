//! What the answer to a test of an upstream is made of, and what is asked.

use crate::deliver::upstream_test::{TestResult, TestStep};
use serde::{Deserialize, Serialize};

/// The body of the request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestQuery {
    /// Who gets a test message; none: none is sent.
    #[serde(default)]
    pub(crate) to: Option<String>,
    /// Its sender, where the settings name none.
    #[serde(default)]
    pub(crate) from: Option<String>,
}

/// A line of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TestLine {
    /// When it has ended.
    Step(TestStep),
    /// At the end.
    Result(TestResult),
}
