//! Our own notices about the outcome of a message (rule 9, RFC 3464): who is told what ([`told`]), and the message that says
//! so ([`report`]). Values only: `crate::deliver::bounce` reads the message that it is about and has it queued.

pub mod report;
mod said;
mod status;
mod text;
pub mod told;
