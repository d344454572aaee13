//! Tests of the room `event`.
