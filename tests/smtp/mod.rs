//! Tests of the module `smtp`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]

mod auth;
mod dialogs;
mod dsn;
mod limits;
mod memory;
mod refusals;
mod replies;
mod resident;
mod stopping;
mod storage;
mod test_server;
