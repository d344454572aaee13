//! Tests of the room `smtp`.
