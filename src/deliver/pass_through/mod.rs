//! Pass-through (rule 15): the upstream's transaction runs beside the client's, and nothing is stored.
//!
//! What is to happen is planned as for queued mail, by [`crate::policy::plan`], at the first recipient (`recipients`). An upstream is
//! chosen as for queued mail, too, until one has answered a RCPT; from then on what it says is what the client hears. `session`
//! leads its connection through the steps; `content` changes and adds what would be changed of queued mail; `outcome` has the
//! log lines and events, `replies` what is said where no upstream has answered. Before each step it is looked whether the mail of
//! the site is handled otherwise by now: no final dot leaves under a plan that does not hold any more.

mod content;
mod outcome;
mod passed;
mod recipients;
mod relay;
mod replies;
mod session;

pub use relay::Relay;
