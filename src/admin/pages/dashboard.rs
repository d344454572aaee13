//! `GET /`: whether mail leaves, at a glance.

use super::frame::{PageFrame, page};
use super::shown::{ShownTime, thousands};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use askama::Template;
use axum::extract::State;
use axum::response::Response;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct DashboardPage {
    frame: PageFrame,
    states: Vec<QueueCount>,
    /// When the message was received that has waited longest.
    oldest: Option<ShownTime>,
}

/// Messages in a state.
struct QueueCount {
    state: &'static str,
    count: String,
}

/// See the module.
pub(super) async fn show(State(admin): State<AdminState>, frame: PageFrame) -> Result<Response, Problem> {
    let figures = admin.queue.figures().await?;
    let status = admin.queue.status();
    let counts = [
        ("queued", status.queued),
        ("deferred", status.deferred),
        ("held", status.held),
        ("failed", status.failed),
        ("damaged", status.damaged),
    ];
    let shown = counts.into_iter().filter(|(state, count)| *state != "damaged" || *count > 0);
    let states = shown.map(|(state, count)| QueueCount { state, count: thousands(count) }).collect();
    let oldest = [figures.oldest_queued, figures.oldest_deferred].into_iter().flatten().min();
    Ok(page(&DashboardPage { frame, states, oldest: oldest.map(ShownTime::from) }))
}
