//! The one integration binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(unreachable_pub, reason = "a test binary has no users: what modules share is pub")]

mod admin;
mod api;
mod browser;
mod cases;
mod circles;
mod citations;
mod cli;
mod config;
mod deliver;
mod dependencies;
mod event;
mod faults;
mod foreign;
mod front_door;
mod fuzz;
mod layers;
mod metrics;
mod names;
mod packages;
mod pages;
mod pass_through;
mod pickup;
mod queue;
mod server;
mod smtp;
mod soak;
mod support;
mod upstreams;
mod webhook;
mod webpages;
