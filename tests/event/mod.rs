//! Tests of the module `event`.
