//! The pages of the web admin: HTML made on the server from templates (`templates/`), with one style sheet and one script of our own,
//! all of it in the binary. Nothing is fetched from elsewhere.
//!
//! # Promises
//! - Every act works without the script: a link, or a form that is answered with a redirect ("POST, redirect, GET").
//! - What a page does is what the routes of the API do: it calls the same functions, and has no rules of its own.
//! - A page that is open follows what happens by one event stream (`GET /live`), and asks for itself again when something has
//!   changed; nothing polls.
//! - Texts of mail are escaped; HTML of mail is shown in a sandboxed frame alone.

mod assets;
mod bulk_words;
mod changed;
mod chart;
mod configuration;
mod dashboard;
mod events;
mod events_query;
mod frame;
mod html_problem;
mod list_query;
mod live;
mod login;
mod message;
mod message_row;
mod modes;
mod queue;
mod queue_acts;
mod send;
mod sending;
mod sent;
mod settings;
mod settings_ask;
mod settings_fields;
mod settings_keys;
mod settings_typed;
mod shown;
mod upstream_acts;
mod upstream_card;
mod upstream_edit;
mod upstream_form;
mod upstream_keys;
mod upstream_trial;
mod upstreams;

pub(super) use html_problem::in_html;

use super::state::AdminState;
use axum::Router;
use axum::routing::{get, post};

/// Every page and every act of a page.
pub(super) fn router() -> Router<AdminState> {
    Router::new()
        .route("/", get(dashboard::show))
        .route("/assets/{name}", get(assets::file))
        .route("/live", get(live::changes))
        .route("/login", get(login::form).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/queue", get(queue::show))
        .route("/sent", get(sent::show))
        .route("/sent/resend", post(sent::resend))
        .route("/events", get(events::show))
        .route("/events.csv", get(events::csv))
        .route("/queue/act", post(queue_acts::act))
        .route("/queue/sending", post(sending::switch))
        .route("/configuration", get(configuration::show))
        .route("/configuration/reload", post(configuration::reload))
        .route("/configuration/reset", post(configuration::reset))
        .route("/settings", get(settings::show).post(settings::save))
        .route("/settings/{site}", get(settings::show_site).post(settings::save_site))
        .route("/send", get(send::form).post(send::send))
        .merge(message::router())
        .route("/upstreams", get(upstreams::list))
        .route("/upstreams/new", get(upstream_edit::new).post(upstream_edit::add))
        .route("/upstreams/{name}", get(upstreams::show))
        .route("/upstreams/{name}/edit", get(upstream_edit::form).post(upstream_edit::edit))
        .route("/upstreams/{name}/test", get(upstream_trial::form).post(upstream_trial::run))
        .route("/upstreams/{name}/enable", post(upstream_acts::enable))
        .route("/upstreams/{name}/disable", post(upstream_acts::disable))
        .route("/upstreams/{name}/delete", post(upstream_acts::delete))
        .route("/upstreams/{name}/reset", post(upstream_acts::reset))
}
