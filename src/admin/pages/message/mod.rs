//! `/messages/{id}`: one message, in the queue or sent: what became of it, and what stands in it.
//!
//! # Promises
//! - Each tab is a page with an address of its own.
//! - No page is larger than 100 KiB, whatever stands in the message: what is longer is cut, and there is a link to all of it.
//! - Nothing of a message acts on these pages: text is escaped, and HTML is a document of its own that may not run, load or send
//!   anything.

mod acts;
mod content;
mod delivery;
mod found;
mod head;
mod headers;
mod html;
mod parts;
mod sent_version;
mod text;

use crate::admin::state::AdminState;
use axum::Router;
use axum::routing::{get, post};

/// The pages of a message, and what is done on them.
pub(super) fn router() -> Router<AdminState> {
    Router::new()
        .route("/messages/{id}", get(delivery::show))
        .route("/messages/{id}/read", get(html::show))
        .route("/messages/{id}/html", get(html::document))
        .route("/messages/{id}/text", get(text::show))
        .route("/messages/{id}/headers", get(headers::show))
        .route("/messages/{id}/parts", get(parts::show))
        .route("/messages/{id}/parts/{number}", get(parts::download))
        .route("/messages/{id}/raw", get(text::raw))
        .route("/messages/{id}/sent", get(sent_version::show))
        .route("/messages/{id}/retry", post(acts::retry))
        .route("/messages/{id}/hold", post(acts::hold))
        .route("/messages/{id}/release", get(acts::ask_release).post(acts::release))
        .route("/messages/{id}/delete", get(acts::ask_delete).post(acts::delete))
        .route("/messages/{id}/resend", get(acts::ask_resend).post(acts::resend))
}
