//! The one integration binary.

mod cli;
mod config;
mod deliver;
mod event;
mod queue;
mod smtp;
mod support;
