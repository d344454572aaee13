//! What the tests share: servers, clients, folders.

pub mod scripted;
