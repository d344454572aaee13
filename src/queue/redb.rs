//! The queue in one redb file.
