//! The message that a page is about, or a page that says why there is none.

use crate::admin::extract::PathPart;
use crate::admin::json::MessageJson;
use crate::admin::messages::with_progress;
use crate::admin::pages::frame::{PageFrame, page_with};
use crate::admin::problem::Problem;
use crate::admin::query::{MessageId, id};
use crate::admin::sent;
use crate::admin::state::AdminState;
use crate::mail::{Message, QueueId};
use crate::queue::{QueueError, SentMessage};
use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// A message, in the queue or sent.
pub(super) struct FoundMessage {
    pub(super) id: QueueId,
    pub(super) message: Arc<Message>,
    /// Where it is archived.
    pub(super) sent: Option<SentMessage>,
    /// As the API shows it.
    pub(super) json: MessageJson,
    /// It waits for nothing else.
    pub(super) sending_is_off: bool,
}

/// A page in place of that of a message.
pub(super) struct NotShown(Box<Response>);

/// There is no message to be shown.
#[derive(Template)]
#[template(path = "message/missing.html")]
struct MissingPage {
    frame: PageFrame,
    id: QueueId,
    title: &'static str,
    text: String,
    /// Nothing but its removal is possible.
    is_damaged: bool,
}

impl IntoResponse for NotShown {
    fn into_response(self) -> Response {
        *self.0
    }
}

impl From<Problem> for NotShown {
    fn from(problem: Problem) -> NotShown {
        NotShown(Box::new(problem.into_response()))
    }
}

/// The message that the path names, and the frame of its page.
pub(super) struct ShownMessage {
    pub(super) frame: PageFrame,
    pub(super) found: FoundMessage,
}

impl FromRequestParts<AdminState> for ShownMessage {
    type Rejection = NotShown;

    async fn from_request_parts(parts: &mut Parts, admin: &AdminState) -> Result<ShownMessage, NotShown> {
        let PathPart(MessageId { id: name }) = PathPart::from_request_parts(parts, admin).await?;
        let id = id(&name).map_err(Problem::from)?;
        let frame = PageFrame::from_request_parts(parts, admin).await?;
        match find(admin, id).await {
            Ok(found) => Ok(ShownMessage { frame, found }),
            Err(QueueError::NotFound(_)) => {
                let text = "It is neither in the queue nor in the archive: it was deleted, or sent without being archived, or \
                            is kept no longer. Its events say what became of it."
                    .to_owned();
                let page = MissingPage { frame, id, title: "This message is gone", text, is_damaged: false };
                Err(NotShown(Box::new(page_with(StatusCode::NOT_FOUND, &page))))
            }
            Err(QueueError::Damaged { what, .. }) => {
                let text = format!(
                    "Its record in the queue file cannot be read ({what}), so nothing sends it. Its events say what is \
                     known of it; its content may be in a backup."
                );
                let page =
                    MissingPage { frame, id, title: "This message is damaged", text, is_damaged: true };
                Err(NotShown(Box::new(page_with(StatusCode::INTERNAL_SERVER_ERROR, &page))))
            }
            Err(error) => Err(Problem::from(error).into()),
        }
    }
}

async fn find(admin: &AdminState, id: QueueId) -> Result<FoundMessage, QueueError> {
    match admin.queue.show(id).await {
        Err(QueueError::NotFound(_)) => {
            let sent = admin.queue.show_sent(id).await?;
            let json = sent::with_file(admin, &sent).await;
            Ok(FoundMessage {
                id,
                message: sent.message.clone(),
                sent: Some(sent),
                json,
                sending_is_off: false,
            })
        }
        message => {
            let message = message?;
            let json = with_progress(admin, &message);
            let is_off = admin.settings.borrow().handling_of(&message.site).is_some_and(|of| of.sending_off);
            let sending_is_off = is_off && message.due.is_some();
            Ok(FoundMessage { id, message, sent: None, json, sending_is_off })
        }
    }
}
