//! `GET /`: whether mail leaves, at a glance.

use super::chart::TrafficChart;
use super::frame::{PageFrame, page};
use super::shown::{ShownTime, short, thousands};
use super::upstream_card::{UpstreamCard, in_order};
use crate::admin::problem::Problem;
use crate::admin::service;
use crate::admin::state::AdminState;
use crate::config::settings::Upstream;
use crate::deliver::health::Availability;
use crate::event::{Event, EventFilter, EventType};
use crate::metrics::Window;
use crate::queue::{QueueFigures, QueueStatus};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Warnings and errors at the end of the page.
const PROBLEMS: usize = 5;
/// Characters of one.
const PROBLEM: usize = 300;

#[derive(Template)]
#[template(path = "dashboard.html")]
struct DashboardPage {
    frame: PageFrame,
    troubles: Vec<AttentionLine>,
    /// No mail has come for a week, and none is in the queue.
    is_new: bool,
    /// Where applications send mail to.
    listeners: Vec<String>,
    has_queue: bool,
    states: Vec<QueueCount>,
    /// When the message was received that has waited longest.
    oldest: Option<ShownTime>,
    charts: Vec<TrafficChart>,
    upstreams: Vec<UpstreamCard>,
    problems: Vec<ProblemLine>,
}

/// What somebody has to do something about.
struct AttentionLine {
    text: String,
    /// The page where that is done.
    path: Option<&'static str>,
}

/// Messages in a state.
struct QueueCount {
    state: &'static str,
    count: String,
}

/// A warning or an error.
struct ProblemLine {
    at: ShownTime,
    kind: String,
    source: String,
    message: String,
    queue_id: Option<String>,
}

/// See the module.
pub(super) async fn show(State(admin): State<AdminState>, frame: PageFrame) -> Result<Response, Problem> {
    let figures = admin.queue.figures().await?;
    let status = admin.queue.status();
    let week = admin.series(Window::Week);
    let is_new = status.messages() == 0 && week.iter().all(|one| one.accepted == 0);
    let charts = vec![
        TrafficChart::new(Window::Hour, &admin.series(Window::Hour)),
        TrafficChart::new(Window::Day, &admin.series(Window::Day)),
        TrafficChart::new(Window::Week, &week),
    ];
    let upstreams = service::upstreams(State(admin.clone())).await.0;
    let settings = admin.settings.borrow().clone();
    Ok(page(&DashboardPage {
        frame,
        troubles: troubles(&admin, &status),
        is_new,
        has_queue: settings.queue.enabled,
        listeners: settings.listeners.iter().map(|listener| listener.address.to_string()).collect(),
        states: counts(&status),
        oldest: oldest(&figures),
        charts,
        upstreams: in_order(upstreams).into_iter().map(UpstreamCard::from).collect(),
        problems: problems(&admin).await?,
    }))
}

fn oldest(figures: &QueueFigures) -> Option<ShownTime> {
    [figures.oldest_queued, figures.oldest_deferred].into_iter().flatten().min().map(ShownTime::from)
}

fn counts(status: &QueueStatus) -> Vec<QueueCount> {
    let counts = [
        ("queued", status.queued),
        ("deferred", status.deferred),
        ("held", status.held),
        ("failed", status.failed),
    ];
    counts.into_iter().map(|(state, count)| QueueCount { state, count: thousands(count) }).collect()
}

fn troubles(admin: &AdminState, status: &QueueStatus) -> Vec<AttentionLine> {
    let mut troubles = Vec::new();
    let mut say = |text: String, path| troubles.push(AttentionLine { text, path });
    if !status.writable {
        say(
            "The queue cannot be written: nothing is accepted. The log says why.".to_owned(),
            Some("/events?type=Error"),
        );
    }
    if !admin.listening.load(Ordering::Relaxed) {
        say("The listeners are not up: nothing is accepted.".to_owned(), None);
    }
    let settings = admin.settings.borrow().clone();
    let availability = |one: &Arc<Upstream>| admin.health.status(one).availability;
    let mut enabled = settings.upstreams.iter().filter(|one| one.enabled).map(availability).peekable();
    let waits =
        if settings.queue.enabled { "mail is accepted and waits" } else { "mail is refused for now (451)" };
    if !settings.upstreams.is_empty() && enabled.peek().is_none() {
        say(format!("No upstream is enabled: {waits}."), Some("/upstreams"));
    } else if enabled.peek().is_some() && enabled.all(|one| one == Availability::Open) {
        say(format!("No upstream works at this moment: {waits}."), Some("/upstreams"));
    }
    if status.damaged > 0 {
        let text =
            format!("Records of the queue that are damaged and set aside: {}.", thousands(status.damaged));
        say(text, Some("/queue?state=damaged"));
    }
    for (name, why) in admin.pickups.troubles() {
        say(format!("Pickup {name}: {}", short(&why, PROBLEM)), None);
    }
    for (name, why) in admin.webhooks.troubles() {
        say(format!("Webhook {name}: {}", short(&why, PROBLEM)), None);
    }
    troubles
}

async fn problems(admin: &AdminState) -> Result<Vec<ProblemLine>, Problem> {
    let filter = EventFilter { types: vec![EventType::Warning, EventType::Error], ..EventFilter::default() };
    let events = admin.queue.events_where(filter, None, PROBLEMS).await?;
    Ok(events.into_iter().rev().map(ProblemLine::from).collect())
}

impl From<Event> for ProblemLine {
    fn from(event: Event) -> ProblemLine {
        let fact = event.fact;
        ProblemLine {
            at: fact.time.into(),
            kind: format!("{:?}", fact.kind),
            source: fact.source.to_string(),
            message: short(&fact.message, PROBLEM),
            queue_id: fact.queue_id.map(|id| id.to_string()),
        }
    }
}
