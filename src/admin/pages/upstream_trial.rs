//! `POST /upstreams/{name}/test`: the steps of a test, each on the page as soon as it has ended. The answer is HTML that comes in
//! pieces; no script is needed.

use super::frame::{PageFrame, page, page_in_pieces};
use super::upstreams::{self, TestTyped};
use crate::admin::extract::PathPart;
use crate::admin::problem::Problem;
use crate::admin::query::UpstreamName;
use crate::admin::state::AdminState;
use crate::admin::test_line::{TestLine, TestQuery};
use crate::admin::upstream_test::begin;
use crate::deliver::session_steps::StepOutcome;
use crate::deliver::upstream_test::{TestResult, TestStep};
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedReceiver;

/// Where the steps belong in the page.
const STEPS: &str = "<!--steps-->";

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct TestForm {
    #[serde(default)]
    to: String,
    #[serde(default)]
    from: String,
}

/// What stands around the steps.
#[derive(Template)]
#[template(path = "upstream_test.html")]
struct TestPage {
    frame: PageFrame,
    name: String,
    to: String,
    from: String,
}

/// A step, or what came of all of them.
#[derive(Template)]
#[template(path = "upstream_test_line.html")]
struct TestLineView {
    /// With its outcome in a word.
    step: Option<(TestStep, &'static str)>,
    result: Option<TestResult>,
}

/// `GET`: who loads the page of a test again does not mean another test.
pub(super) async fn form(PathPart(UpstreamName { name }): PathPart<UpstreamName>) -> Response {
    Redirect::to(&format!("/upstreams/{name}#test")).into_response()
}

/// `POST`.
pub(super) async fn run(
    State(admin): State<AdminState>,
    PathPart(UpstreamName { name }): PathPart<UpstreamName>,
    frame: PageFrame,
    Form(TestForm { to, from }): Form<TestForm>,
) -> Result<Response, Problem> {
    let (to, from) = (to.trim().to_owned(), from.trim().to_owned());
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let lines = match begin(&admin, &name, &TestQuery { to: given(&to), from: given(&from) }) {
        Ok(lines) => lines,
        Err(problem) if problem.status == StatusCode::BAD_REQUEST.as_u16() => {
            let typed = TestTyped { to, from, wrong: Some(problem.detail) };
            return upstreams::shown(&admin, frame, &name, StatusCode::BAD_REQUEST, typed);
        }
        Err(problem) => return Err(problem),
    };
    let around = TestPage { frame, name, to, from };
    let Ok(text) = around.render() else { return Ok(page(&around)) };
    let (before, after) = text.split_once(STEPS).unwrap_or((&text, ""));
    let (before, after) = (before.to_owned(), after.to_owned());
    let each = async |mut lines: UnboundedReceiver<TestLine>| {
        let view = match lines.recv().await? {
            TestLine::Step(step) => TestLineView { step: Some(with_word(step)), result: None },
            TestLine::Result(result) => TestLineView { step: None, result: Some(result) },
        };
        Some((view.render().unwrap_or_default(), lines))
    };
    let pieces = stream::once(async { before }).chain(stream::unfold(lines, each));
    Ok(page_in_pieces(pieces.chain(stream::once(async { after }))))
}

fn with_word(step: TestStep) -> (TestStep, &'static str) {
    let word = match step.outcome {
        StepOutcome::Ok => "ok",
        StepOutcome::Warning => "warning",
        StepOutcome::Failed => "failed",
    };
    (step, word)
}
