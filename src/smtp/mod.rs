//! The front door: sessions, transactions, content.
