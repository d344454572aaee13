//! A message for unit tests.

use crate::clock::Moment;
use crate::mail::{BodyType, HeaderFacts, Message, Origin, QueueId, ReversePath};
use std::sync::Arc;

/// A message without recipients.
pub(super) fn message(size: usize) -> Arc<Message> {
    Arc::new(Message {
        id: QueueId::fresh(1),
        reverse_path: ReversePath::Null,
        recipients: Vec::new(),
        body: BodyType::SevenBit,
        smtp_utf8: false,
        size: size as u64,
        chunks: 1,
        header: HeaderFacts::default(),
        origin: Origin {
            listener: String::new(),
            client: None,
            user: None,
            helo: String::new(),
            protocol: String::new(),
        },
        received_at: jiff::Timestamp::UNIX_EPOCH,
        reception_ms: 0,
        due: None,
        life_start: Moment(0),
        ..Message::new(QueueId::from_number(0), ReversePath::Null)
    })
}
