//! Tests of the room `deliver`.
