//! What mail is made of (RFC 5321 and 5322), as values without I/O.
//!
//! Nothing here knows of sockets, files, queues or settings, so every module may use it.

pub mod address;
pub mod address_list;
pub mod attempt;
pub mod dsn;
pub mod header;
pub mod id;
pub mod message;
pub mod mime;
pub mod printable;
pub mod reply;
pub mod verdict;

pub use address::{Address, ReversePath};
pub use attempt::AttemptRecord;
pub use dsn::{DsnRequest, RecipientDsn};
pub use header::{FieldFilter, HeaderScan, Rename, SenderFacts, SenderScan};
pub use id::QueueId;
pub use message::{
    BodyType, Class, HeaderFacts, HoldReason, Message, MessageState, Mode, Notify, Origin, Recipient,
    RecipientState, Refusal, Return, Role,
};
pub use printable::{printable, printable_bytes, shortened};
pub use reply::{BadReply, EnhancedCode, Reply, ReplyCode, ReplyParser};
pub use verdict::{Grounds, Outcome, Verdict};
