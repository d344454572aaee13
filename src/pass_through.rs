//! The contract of pass-through (rule 15): what a session asks of delivery while an upstream's transaction runs beside its
//! client's. `smtp` asks, `deliver` answers; they do not know each other.
//!
//! What comes back is a reply for the client: the upstream's own, or one of ours where no upstream has answered.

use crate::config::Settings;
use crate::mail::{Address, HeaderFacts, Message, Reply, SenderFacts};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What is answered in time: every wait for an upstream has a deadline.
pub type Passing<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where sessions begin their transactions.
pub trait PassThrough: Send + Sync {
    /// A transaction with nobody asked yet.
    fn begin(&self, mail: PassedMail) -> Box<dyn PassedTransaction>;
}

/// What is known of a message before its first recipient.
pub struct PassedMail {
    /// In force when its site was looked up: the transaction ends where its site is handled otherwise later.
    pub settings: Arc<Settings>,
    /// Without recipients and content; its size is what the client has announced, 0 where that is not known.
    pub message: Message,
    /// How long its client may be kept waiting while every upstream is in use.
    pub patience: Duration,
}

/// What is known of a header when it has been read whole.
pub struct PassedHeader<'a> {
    /// What is missing in it.
    pub facts: HeaderFacts,
    /// What it says of the sender.
    pub sender: SenderFacts,
    /// The site that the message turns out to belong to.
    pub site: String,
    /// The beginning of the content: at least the header, for records.
    pub bytes: &'a [u8],
}

/// One transaction beside a client's. Its methods are called in the order in which they stand here; after a refusal nothing
/// but [`PassedTransaction::end`] is called, unless it was that of a recipient.
pub trait PassedTransaction: Send {
    /// RCPT. With the first one an upstream is chosen.
    fn recipient(&mut self, address: Address) -> Passing<'_, Reply>;

    /// DATA.
    fn data(&mut self) -> Passing<'_, Result<(), Reply>>;

    /// The header has been read whole, and nothing of it was sent: says what is to be changed and added.
    fn header<'a>(&'a mut self, header: PassedHeader<'a>) -> Passing<'a, Result<(), Reply>>;

    /// Content, header included, in order, every line of it ended by CRLF, without dots of RFC 5321 section 4.5.2. It is
    /// taken when the upstream has room for it.
    fn content<'a>(&'a mut self, content: &'a [u8]) -> Passing<'a, Result<(), Reply>>;

    /// The final dot.
    fn finish(&mut self) -> Passing<'_, Reply>;

    /// It is over: at its end, or given up wherever it was. Without a final dot an upstream has taken nothing. `told`: what its client
    /// is told, where that is to come again; without it the client has given up, or is refused for its content.
    fn end(self: Box<Self>, told: Option<Reply>) -> Passing<'static, ()>;
}
