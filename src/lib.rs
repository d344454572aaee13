//! Postroom: a local SMTP proxy that has mail on disk before it answers 250.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod event;
pub mod mail;
pub mod policy;
pub mod queue;
pub mod server;
pub mod smtp;
pub mod unix;
