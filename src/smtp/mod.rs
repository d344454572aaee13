//! Mail in: takes mail from applications and has it in the queue before it replies 250 (RFC 5321).
//!
//! From the socket inwards: `listener` accepts clients, each with a permit (`session_permit`); [`session`] runs a session, with
//! the I/O in `client_stream`, over an `inbound_stream` that may change to TLS; [`dialogue`] decides what each command means, [`command`] and `parameters` read its line,
//! `reception` carries what follows DATA and BDAT into the queue, by [`crate::reception`], `passed_content` to an upstream where there
//! is no queue; `origin` says where it comes from; [`reply`] has every reply; [`refusals`] makes
//! events of refused clients. `session_context` says what a client may do; `auth_exchange` reads what it says of itself and
//! `authenticator` checks that, with `failed_logins` in mind. `server` is what they share.
//!
//! # Promises
//! - The reply to the end of data is 250 only when the queue has the message durably.
//! - Whatever bytes a client sends, one DATA is one message and no content becomes a command.
//! - A client uses up no more than `[limits]` allows: memory, time, sessions.
//! - No password is taken in clear text from another machine unless the owner says so, and none reaches a log.

mod auth_exchange;
mod authenticator;
mod client_stream;
pub mod command;
pub mod dialogue;
mod failed_logins;
mod handshake_failure;
mod inbound_stream;
mod listener;
mod origin;
mod parameters;
mod passed_content;
mod reception;
mod refusal_reason;
pub mod refusals;
pub mod reply;
mod server;
pub mod session;
mod session_context;
mod session_permit;

pub use auth_exchange::SentCredentials;
pub use authenticator::AuthResult;
pub use inbound_stream::InboundStream;
pub use listener::{listen, serve_waiting};
pub use parameters::MailParameters;
pub use server::{Shutdown, SmtpServer};
pub use session_context::SessionContext;
