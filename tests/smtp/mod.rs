//! Tests of the room `smtp`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics has failed, as it should")]

mod dialogs;
mod door;
mod limits;
mod memory;
mod refused;
mod replies;
mod resident;
mod stopping;
mod storage;
