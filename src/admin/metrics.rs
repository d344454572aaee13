//! `GET /metrics`: what is counted, and what is read for it, as Prometheus' text format has it. docs/monitoring.md has the
//! table.

use super::state::AdminState;
use crate::config::Settings;
use crate::config::settings::Upstream;
use crate::deliver::health::{Availability, UpstreamStatus};
use crate::metrics::{MetricsPage, NamesInForce, PageFamily};
use crate::queue::{QueueFigures, QueueStatus};
use crate::unix;
use crate::unix::process_figures::{ProcessFigures, process_figures};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use std::sync::atomic::Ordering;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Show figures for Prometheus
///
/// Nothing of it scans the queue.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain; version=0.0.4; charset=utf-8"))
)]
pub(super) async fn metrics(State(admin): State<AdminState>) -> Response {
    let settings = admin.settings.borrow().clone();
    let page = MetricsPage::default();
    let info = page.gauges("postroom_build_info", "1, for the version of the program.", &["version"]);
    info.set(&[env!("CARGO_PKG_VERSION")], 1.0);
    let listening = number(admin.listening.load(Ordering::Relaxed));
    page.gauge("postroom_listening", "1 while the listeners are up.", Some(listening));
    queue_status(&page, &admin.queue.status());
    // Where the queue cannot be read, this part is missing, and `postroom_queue_writable` says why.
    if let Ok(figures) = admin.queue.figures().await {
        queue_figures(&page, &figures, admin.clock.wall(), &settings);
    }
    let file = settings.queue.path.clone();
    let read = tokio::task::spawn_blocking(move || (unix::disk_space(&file).ok(), process_figures()));
    let (disk, process) = read.await.unwrap_or_default();
    space(&page, disk, admin.queue.free_space(), &settings);
    if let Some(process) = process {
        of_process(&page, process);
    }
    upstreams(&page, &admin, &settings);
    modes(&page, &settings);
    listeners(&page, &settings);
    pickups(&page, &admin, &settings);
    webhooks(&page, &admin);
    let names = names(&settings);
    admin.metrics.begin(&names);
    ([(CONTENT_TYPE, TEXT_FORMAT)], page.text(&admin.metrics, &names)).into_response()
}

fn number(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}

fn names(settings: &Settings) -> NamesInForce {
    let pickups = settings.pickups.iter().map(|one| format!("pickup.{}", one.name));
    // What comes in by a route has a name that no listener can have.
    let routes = ["admin.send".to_owned()];
    NamesInForce {
        listeners: settings
            .listeners
            .iter()
            .map(|one| one.name.clone())
            .chain(pickups)
            .chain(routes)
            .collect(),
        sites: settings.sites.keys().cloned().collect(),
        upstreams: settings.upstreams.iter().map(|one| one.name.clone()).collect(),
    }
}

fn queue_status(page: &MetricsPage, status: &QueueStatus) {
    let QueueStatus { writable, queued, deferred, held, failed, damaged, claimed } = *status;
    let messages = page.gauges("postroom_queue_messages", "Messages in the queue, by state.", &["state"]);
    for (state, count) in [("queued", queued), ("deferred", deferred), ("held", held), ("failed", failed)] {
        messages.set(&[state], count as f64);
    }
    let figures = [
        ("postroom_queue_damaged_messages", "Records set aside because they are damaged.", damaged as f64),
        ("postroom_queue_claimed_messages", "Messages that attempts have now.", claimed as f64),
        (
            "postroom_queue_writable",
            "1: the last commit of the queue file succeeded. 0: it did not, and no mail is accepted.",
            number(writable),
        ),
    ];
    figures.into_iter().for_each(|(name, help, value)| page.gauge(name, help, Some(value)));
}

fn queue_figures(page: &MetricsPage, figures: &QueueFigures, now: Timestamp, settings: &Settings) {
    page.gauge(
        "postroom_queue_used_bytes",
        "Bytes of the queue file that hold something; the rest is used again.",
        Some(figures.used_bytes as f64),
    );
    let age =
        |oldest: Option<Timestamp>| oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
    let ages = page.gauges(
        "postroom_queue_oldest_age_seconds",
        "Age of the message that has been queued, or deferred, longest; 0 where there is none.",
        &["state"],
    );
    ages.set(&["queued"], age(figures.oldest_queued));
    ages.set(&["deferred"], age(figures.oldest_deferred));
    let overdue = page.gauges(
        "postroom_queue_overdue_seconds",
        "How long a message of the site has been due and has not left: nothing is available to send it, or all is busy. While \
         sending is off, no time passes.",
        &["site"],
    );
    for (site, _) in settings.handlings() {
        overdue.set(&[site], figures.overdue.get(site).map_or(0.0, std::time::Duration::as_secs_f64));
    }
}

/// `disk`: free on the file system, and what the file takes of it.
fn space(page: &MetricsPage, disk: Option<(u64, u64)>, for_mail: Option<u64>, settings: &Settings) {
    page.gauge(
        "postroom_queue_file_bytes",
        "Bytes that the queue file takes on the disk.",
        disk.map(|(_, taken)| taken as f64),
    );
    page.gauge(
        "postroom_disk_free_bytes",
        "Bytes free on the file system of the queue file.",
        disk.map(|(free, _)| free as f64),
    );
    page.gauge(
        "postroom_queue_free_bytes",
        "Bytes that new mail may take, inside the queue file and on its disk.",
        for_mail.map(|free| free as f64),
    );
    page.gauge(
        "postroom_queue_min_free_bytes",
        "`min_free_space`: with less free nothing is accepted.",
        Some(settings.queue.min_free_space as f64),
    );
}

fn upstreams(page: &MetricsPage, admin: &AdminState, settings: &Settings) {
    let gauges = |name, help| page.gauges(name, help, &["upstream"]);
    let state = page.gauges(
        "postroom_upstream_state",
        "1 for the state that the upstream is in: ok, busy, limited (rate_limit), open (circuit), probing, disabled.",
        &["upstream", "state"],
    );
    let up = gauges("postroom_upstream_up", "0 while the upstream is disabled or its circuit is not closed.");
    let connections = gauges("postroom_upstream_connections", "Connections in use by attempts.");
    let limit = gauges("postroom_upstream_connection_limit", "`connection_limit`.");
    let effective = gauges(
        "postroom_upstream_effective_connection_limit",
        "Connections that the server turned out to allow.",
    );
    let error_at = gauges(
        "postroom_upstream_last_error_timestamp_seconds",
        "When something last went wrong with a session.",
    );
    let token_ends =
        gauges("postroom_upstream_token_expiry_timestamp_seconds", "When the OAuth 2 access token ends.");
    let token_error = gauges(
        "postroom_upstream_token_error",
        "1 while no OAuth 2 token can be had; 0 once there is one. Missing before the first was asked for.",
    );
    let certificate_ends = gauges(
        "postroom_upstream_certificate_expiry_timestamp_seconds",
        "When the certificate ends that the server showed last.",
    );
    let optional = |family: &PageFamily, name: &str, at: Option<Timestamp>| {
        if let Some(at) = at {
            family.set(&[name], seconds(at));
        }
    };
    for upstream in &settings.upstreams {
        let (name, status) = (upstream.name.as_str(), admin.health.status(upstream));
        for word in Availability::ALL {
            state.set(&[name, &word.to_string()], number(word == status.availability));
        }
        up.set(&[name], number(is_up(upstream, &status)));
        connections.set(&[name], status.in_flight as f64);
        limit.set(&[name], upstream.connection_limit as f64);
        effective.set(&[name], status.effective_limit as f64);
        optional(&error_at, name, status.last_error_at);
        if let Some(token) = &status.token {
            token_error.set(&[name], number(token.error.is_some()));
            optional(&token_ends, name, token.expires_at);
        }
        optional(&certificate_ends, name, status.tls.and_then(|tls| tls.certificate_expires));
    }
}

fn is_up(upstream: &Upstream, status: &UpstreamStatus) -> bool {
    upstream.enabled && !matches!(status.availability, Availability::Open | Availability::Probing)
}

fn modes(page: &MetricsPage, settings: &Settings) {
    let modes = page.gauges(
        "postroom_mode",
        "1 while mail of the site does not go where it is addressed: sending_off, simulate, debug, redirect.",
        &["site", "mode"],
    );
    for (site, handling) in settings.handlings() {
        let switches = [
            ("sending_off", handling.sending_off),
            ("simulate", handling.simulate),
            ("debug", handling.debug.enabled),
            ("redirect", handling.redirect.enabled),
        ];
        switches.into_iter().for_each(|(mode, on)| modes.set(&[site, mode], number(on)));
    }
}

fn listeners(page: &MetricsPage, settings: &Settings) {
    let ends = page.gauges(
        "postroom_listener_certificate_expiry_timestamp_seconds",
        "When the certificate of the listener ends.",
        &["listener"],
    );
    let of_listeners = settings.listeners.iter().map(|one| (one.name.as_str(), &one.certificate));
    for (name, certificate) in of_listeners.chain([("admin.listen", &settings.admin.certificate)]) {
        if let Some(certificate) = certificate {
            ends.set(&[name], seconds(certificate.ends));
        }
    }
}

fn pickups(page: &MetricsPage, admin: &AdminState, settings: &Settings) {
    let trouble = page.gauges(
        "postroom_pickup_trouble",
        "1 while no mail can be taken from the folder; `postroom ready` says why.",
        &["listener"],
    );
    let troubles = admin.pickups.troubles();
    for pickup in &settings.pickups {
        let name = format!("pickup.{}", pickup.name);
        trouble.set(&[&name], number(troubles.contains_key(&pickup.name)));
    }
}

fn webhooks(page: &MetricsPage, admin: &AdminState) {
    let events = page.counters(
        "postroom_webhook_events_total",
        "Events that a webhook was to be told of: taken, given_up after all tries, dropped because too many waited.",
        &["webhook", "result"],
    );
    let failures = page.counters(
        "postroom_webhook_failures_total",
        "Requests to a webhook that failed, repeated ones too.",
        &["webhook"],
    );
    let gauges = |name, help| page.gauges(name, help, &["webhook"]);
    let waiting = gauges("postroom_webhook_waiting_events", "Events that wait for the webhook.");
    let trouble = gauges("postroom_webhook_trouble", "1 while the webhook fails; `postroom ready` says why.");
    for (name, counts) in admin.webhooks.counts() {
        events.set(&[&name, "taken"], counts.taken as f64);
        events.set(&[&name, "given_up"], counts.given_up as f64);
        events.set(&[&name, "dropped"], counts.dropped as f64);
        failures.set(&[&name], counts.failures as f64);
        waiting.set(&[&name], counts.waiting as f64);
        trouble.set(&[&name], number(counts.trouble.is_some()));
    }
    page.counter(
        "postroom_webhook_missed_events_total",
        "Events that came faster than anybody could look whether a webhook wants them.",
        admin.webhooks.missed() as f64,
    );
}

/// Names as every exporter has them, so that dashboards of others work.
fn of_process(page: &MetricsPage, process: ProcessFigures) {
    page.counter(
        "process_cpu_seconds_total",
        "Seconds of CPU that the process has used.",
        process.cpu_seconds,
    );
    let figures = [
        (
            "process_resident_memory_bytes",
            "Bytes of memory that the process has.",
            Some(process.resident_bytes),
        ),
        ("process_threads", "Threads of the process.", Some(process.threads)),
        ("process_open_fds", "Files and connections that the process has open.", Some(process.open_files)),
        ("process_max_fds", "Files and connections that it may have open.", process.most_open_files),
        ("process_start_time_seconds", "When the process started.", Some(process.started)),
    ];
    figures.into_iter().for_each(|(name, help, value)| page.gauge(name, help, value));
}
