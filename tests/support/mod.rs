//! What the tests share: servers, clients, folders.
