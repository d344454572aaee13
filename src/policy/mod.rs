//! What is sent, as pure functions of settings and the stored message.

pub mod added;
pub mod changes;
pub mod notices;
pub mod plan;
