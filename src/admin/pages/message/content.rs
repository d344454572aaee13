//! Reading the content of a message for a page, within bounds of memory that leave enough for mail that comes and goes.

use super::found::{FoundMessage, NotShown};
use super::head::MessageHead;
use crate::admin::pages::frame::{PageFrame, page_with};
use crate::admin::problem::Problem;
use crate::admin::state::AdminState;
use crate::queue::CHUNK_SIZE;
use askama::Template;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::LazyLock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Bytes of a content that are looked at; what lies beyond them is in the file that can be downloaded.
const MOST: u64 = 64 << 20;
/// A content of that many bytes is large.
const LARGE: u64 = 1 << 20;
/// So many large contents are looked at at a time.
static LARGE_CONTENTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

/// What is on its way to readers, in KiB, all together.
const DOWNLOADS_KIB: u32 = 128 << 10;
static DOWNLOADS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(DOWNLOADS_KIB as usize));

/// A content, or the beginning of one, with its share of memory.
pub(super) struct ReadContent {
    pub(super) bytes: Vec<u8>,
    /// There is no more.
    pub(super) is_whole: bool,
    _memory: OwnedSemaphorePermit,
    _turn: Option<SemaphorePermit<'static>>,
}

/// Why there is no content to be shown.
pub(super) struct Unreadable {
    status: StatusCode,
    why: String,
}

#[derive(Template)]
#[template(path = "message/unreadable.html")]
struct UnreadablePage {
    frame: PageFrame,
    head: MessageHead,
    why: String,
}

impl Unreadable {
    fn new(status: StatusCode, why: impl Display) -> Unreadable {
        Unreadable { status, why: why.to_string() }
    }

    /// In place of a tab.
    pub(super) fn page(self, frame: PageFrame, found: &FoundMessage, tab: &str) -> Response {
        let head = MessageHead::new(found, tab);
        page_with(self.status, &UnreadablePage { frame, head, why: self.why })
    }
}

impl From<Unreadable> for Problem {
    fn from(unreadable: Unreadable) -> Problem {
        Problem::new(unreadable.status, unreadable.why)
    }
}

/// At least the first `most` bytes of a content, where it has so many; or all that pages look at.
pub(super) async fn read(
    admin: &AdminState,
    found: &FoundMessage,
    most: Option<u64>,
) -> Result<ReadContent, Unreadable> {
    let most = most.unwrap_or(MOST).min(MOST).min(found.message.size);
    let stopping = |_| Unreadable::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    let turn = match most >= LARGE {
        true => Some(LARGE_CONTENTS.acquire().await.map_err(stopping)?),
        false => None,
    };
    // Itself, and what is made of it; never so much that mail has to wait for it.
    let quarter = admin.settings.borrow().limits.content_memory / 1024 / 4;
    let kib = (2 * most / 1024).clamp(1, quarter.max(1));
    let permits = u32::try_from(kib).unwrap_or(u32::MAX);
    let memory = admin.content_memory.clone().acquire_many_owned(permits).await.map_err(stopping)?;
    let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or(0) + CHUNK_SIZE);
    let has_enough = |bytes: &Vec<u8>| bytes.len() as u64 >= most;
    match &found.sent {
        None => {
            for number in 0..found.message.chunks {
                let chunk = admin.queue.chunk(found.id, number).await;
                let broken = |error| Unreadable::new(StatusCode::INTERNAL_SERVER_ERROR, error);
                bytes.extend_from_slice(&chunk.map_err(broken)?);
                if has_enough(&bytes) {
                    break;
                }
            }
        }
        Some(sent) => {
            let gone = |error| Unreadable::new(StatusCode::GONE, error);
            let mut content = admin.archive.open(sent).await.map_err(gone)?;
            while !has_enough(&bytes) {
                let (piece, rest) = content.piece(CHUNK_SIZE).await.map_err(gone)?;
                if piece.is_empty() {
                    break;
                }
                bytes.extend_from_slice(&piece);
                content = rest;
            }
        }
    }
    let is_whole = bytes.len() as u64 >= found.message.size;
    Ok(ReadContent { bytes, is_whole, _memory: memory, _turn: turn })
}

/// Bytes of a message as a body, for as long as somebody reads them: so many readers who are slow take so much memory and no more. It
/// is no share of that of mail, which nobody who reads slowly may keep.
///
/// # Errors
/// The proxy is stopping.
pub(super) async fn body(bytes: impl Into<Bytes>) -> Result<Body, NotShown> {
    let bytes = bytes.into();
    let kib = u32::try_from(bytes.len() / 1024).unwrap_or(u32::MAX).clamp(1, DOWNLOADS_KIB);
    let stopping = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    let share = DOWNLOADS.acquire_many(kib).await.map_err(stopping)?;
    let pieces = stream::unfold((bytes, share), async |(mut bytes, share)| {
        let piece = bytes.split_to(bytes.len().min(CHUNK_SIZE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (bytes, share)))
    });
    Ok(Body::from_stream(pieces))
}

/// On a thread where it may take its time.
///
/// # Errors
/// A panic, on input that nobody thought of.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotShown> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "this message cannot be shown").into())
}
