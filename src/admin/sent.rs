//! Sent mail that is archived: listed, shown, read, and sent again.

use super::extract::{OptionalBody, PathPart, QueryKeys};
use super::json::{ArchivedJson, MessageJson, MessagesJson};
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::{ActQuery, LARGEST_PAGE, MessageId, SentQuery, id, page};
use super::state::AdminState;
use crate::event::{EventType, Fact, code, named_site};
use crate::mail::{Message, QueueId, Recipient};
use crate::queue::archive::ArchivedContent;
use crate::queue::{CHUNK_SIZE, MailStore, QueueError, SentMessage};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;

/// List sent mail
///
/// What is archived, newest first.
#[utoipa::path(
    get, path = "/api/v1/sent", tag = "messages", params(SentQuery),
    responses((status = 200, description = "A page", body = MessagesJson))
)]
pub(super) async fn list(
    State(admin): State<AdminState>,
    QueryKeys(query): QueryKeys<SentQuery>,
) -> Result<JsonResponse<MessagesJson>, Problem> {
    listed(&admin, &query).await.map(JsonResponse)
}

/// What a listing shows.
pub(super) async fn listed(admin: &AdminState, query: &SentQuery) -> Result<MessagesJson, Problem> {
    let filter = admin.filter(query.q.as_deref().unwrap_or_default())?;
    let cursor = query.cursor.as_deref().map(id).transpose()?;
    let limit = page(query.limit, LARGEST_PAGE)?;
    Ok(MessagesJson::of_sent(&admin.queue.list_sent(filter, cursor, limit).await?))
}

/// A sent message, with what became of its file.
pub(super) async fn show(admin: &AdminState, id: QueueId) -> Result<MessageJson, Problem> {
    Ok(with_file(admin, &admin.queue.show_sent(id).await?).await)
}

/// The same of one that is at hand.
pub(super) async fn with_file(admin: &AdminState, sent: &SentMessage) -> MessageJson {
    let wrong = admin.archive.open(sent).await.err().map(|error| error.to_string());
    MessageJson { archived: Some(ArchivedJson::of(sent, wrong)), ..MessageJson::of_sent(sent) }
}

/// The content of a sent message as it was accepted.
pub(super) async fn body(admin: &AdminState, id: QueueId) -> Result<Body, Problem> {
    let content = open(admin, &admin.queue.show_sent(id).await?).await?;
    let pieces = futures_util::stream::try_unfold(content, async |content| {
        let (piece, content) = content.piece(CHUNK_SIZE).await?;
        Ok::<_, std::io::Error>((!piece.is_empty()).then_some((piece, content)))
    });
    Ok(Body::from_stream(pieces))
}

pub(super) async fn open(admin: &AdminState, sent: &SentMessage) -> Result<ArchivedContent, Problem> {
    admin.archive.open(sent).await.map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::new(StatusCode::GONE, error)
}

/// Send an archived message again
///
/// A new message for all original recipients, under the modes in force. What no upstream has taken, because of a mode, is sent
/// again only with `"confirm": true`.
#[utoipa::path(
    post, path = "/api/v1/messages/{id}/resend", tag = "messages", params(MessageId), request_body = Option<ActQuery>,
    responses(
        (status = 200, description = "The new message", body = MessageJson),
        (status = 409, description = "It is still in the queue; or a mode kept it from recipients, and `confirm` is not said"),
        (status = 410, description = "Its content is not in the archive any more"),
        (status = 507, description = "The queue or the disk is full"),
    )
)]
pub(super) async fn resend(
    State(admin): State<AdminState>,
    PathPart(MessageId { id: name }): PathPart<MessageId>,
    OptionalBody(body): OptionalBody<ActQuery>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    let message = send_again(&admin, id(&name)?, body.confirm).await?;
    Ok(JsonResponse(MessageJson::of(&message, |site, due| admin.queue.wall_of(site, due))))
}

/// Sends an archived message again: the new one.
pub(super) async fn send_again(admin: &AdminState, id: QueueId, confirm: bool) -> Result<Message, Problem> {
    let sent = match admin.queue.show_sent(id).await {
        Err(QueueError::NotFound(_)) if admin.queue.show(id).await.is_ok() => {
            let why = format!("message {id} is still in the queue: retry it, or release it where it is held");
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        found => found?,
    };
    if sent.message.recipients.iter().any(|one| one.mode.is_some()) && !confirm {
        let why = format!(
            "message {id} was kept from recipients by redirect or debug: say \"confirm\": true to send it to all of them, also to \
             those who have had it, under the modes that are in force now"
        );
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    refuse_without_room(admin, sent.message.size)?;
    let mut content = open(admin, &sent).await?;
    let message = again(admin, &sent.message);
    let mut staged = Staged { queue: &*admin.queue, id: message.id, count: 0 };
    let mut tail = Bytes::new();
    for number in 0..message.chunks {
        (tail, content) = content.piece(CHUNK_SIZE).await.map_err(unreadable)?;
        if number + 1 < message.chunks {
            staged.queue.stage(message.id, number, tail.split_to(tail.len())).await?;
            staged.count += 1;
        }
    }
    let stored = u64::from(staged.count) * CHUNK_SIZE as u64 + tail.len() as u64;
    if stored != message.size {
        return Err(unreadable(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let new = message.id;
    staged.queue.put(message.clone(), tail, facts(&sent.message, &message)).await?;
    staged.count = 0;
    tracing::info!(queue_id = %new, "message {id} is sent again");
    Ok(message)
}

/// Chunks of a message that does not exist yet; discarded unless it comes to exist.
struct Staged<'q> {
    queue: &'q dyn MailStore,
    id: QueueId,
    count: u32,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.count > 0 {
            self.queue.discard(self.id);
        }
    }
}

/// What clients are refused for (rule 1), an operator is, too.
fn refuse_without_room(admin: &AdminState, size: u64) -> Result<(), Problem> {
    let rules = admin.settings.borrow().queue.clone();
    let too_many = rules.max_messages > 0 && admin.queue.status().messages() >= rules.max_messages;
    let full = |free: u64| free < rules.min_free_space.saturating_add(size);
    match (too_many, admin.queue.free_space().is_some_and(full)) {
        (true, _) => Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "max_messages are in the queue")),
        (_, true) => Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "min_free_space is reached")),
        _ => Ok(()),
    }
}

/// The same message with a name of its own and no history.
fn again(admin: &AdminState, sent: &Message) -> Message {
    let received_at = admin.clock.wall();
    let now = admin.queue.now_of(&sent.site);
    let under_mode =
        admin.settings.borrow().handling_of(&sent.site).is_some_and(|handling| handling.mode().is_some());
    let anew = |one: &Recipient| Recipient {
        notify: one.notify,
        original_recipient: one.original_recipient.clone(),
        ..Recipient::pending(one.address.clone())
    };
    let id = QueueId::fresh_at(received_at);
    Message {
        recipients: sent.originals().map(anew).collect(),
        body: sent.body,
        smtp_utf8: sent.smtp_utf8,
        size: sent.size,
        chunks: sent.chunks,
        header: sent.header.clone(),
        origin: sent.origin.clone(),
        site: sent.site.clone(),
        class: sent.class,
        received_at,
        due: Some(now),
        life_start: now,
        under_mode,
        is_notice: sent.is_notice,
        returns: sent.returns,
        envelope_id: sent.envelope_id.clone(),
        ..Message::new(id, sent.reverse_path.clone())
    }
}

/// One about each of the two, so that whoever asks for either finds the other.
fn facts(sent: &Message, new: &Message) -> Vec<Fact> {
    let about = |message: &Message, text: String| Fact {
        queue_id: Some(message.id),
        site: named_site(&message.site),
        ..Fact::new(new.received_at, EventType::Information, "Mail", code::QUEUED, text)
    };
    let recipients = new.recipients.len();
    let s = if recipients == 1 { "" } else { "s" };
    vec![
        about(sent, format!("an operator had it sent again, as message {}", new.id)),
        about(
            new,
            format!("message {} is sent again, to {recipients} recipient{s}, as an operator asked", sent.id),
        ),
    ]
}
