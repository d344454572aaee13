//! The header block of a content, read while it goes by (RFC 5322 section 2.2).
