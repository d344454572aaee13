//! The one integration binary.
#![expect(missing_docs, reason = "tests")]

mod support;
mod cli;
mod config;
mod deliver;
mod event;
mod queue;
mod smtp;
