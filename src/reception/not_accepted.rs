//! Why a message cannot be taken, whatever way it came.

use super::content::ContentError;
use crate::queue::QueueError;
use std::fmt;

/// Why a message cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotAccepted {
    /// It has more octets than that.
    TooLarge(u64),
    /// It holds a NUL.
    Nul,
    /// It holds a bare CR or LF where that is not allowed.
    BareNewline,
    /// It has come round to us again.
    Loop,
    /// The queue holds `max_messages`.
    TooManyMessages,
    /// It would leave less than `min_free_space`.
    MinFreeSpace,
    /// There is no room on the disk.
    DiskFull,
    /// The queue cannot be written.
    QueueNotWritable,
}

impl NotAccepted {
    /// What is wrong with a content; `limit` is `message_size`.
    pub(crate) fn of_content(error: ContentError, limit: u64) -> NotAccepted {
        match error {
            ContentError::TooLarge => NotAccepted::TooLarge(limit),
            ContentError::Nul => NotAccepted::Nul,
            ContentError::BareNewline => NotAccepted::BareNewline,
        }
    }

    /// Whether it may be taken later as it is.
    pub(crate) fn is_temporary(self) -> bool {
        use NotAccepted::{DiskFull, MinFreeSpace, QueueNotWritable, TooManyMessages};
        matches!(self, TooManyMessages | MinFreeSpace | DiskFull | QueueNotWritable)
    }
}

impl From<&QueueError> for NotAccepted {
    fn from(error: &QueueError) -> NotAccepted {
        match error {
            QueueError::Full(_) => NotAccepted::DiskFull,
            _ => NotAccepted::QueueNotWritable,
        }
    }
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NotAccepted::TooLarge(limit) => {
                return write!(out, "it is larger than the {limit} octets of limits.message_size");
            }
            NotAccepted::Nul => "it holds a NUL: encode binary parts, for example in base64",
            NotAccepted::BareNewline => "it holds a bare CR or LF",
            NotAccepted::Loop => {
                "it has been here before, or has more Received fields than limits.received_hops"
            }
            NotAccepted::TooManyMessages => "the queue holds queue.max_messages messages",
            NotAccepted::MinFreeSpace => "it would leave less than queue.min_free_space free",
            NotAccepted::DiskFull => "the disk of the queue file is full",
            NotAccepted::QueueNotWritable => "the queue file cannot be written, the log says why",
        })
    }
}
