//! The one integration binary.

mod support;
mod cli;
mod config;
mod deliver;
mod event;
mod queue;
mod smtp;
