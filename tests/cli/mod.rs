//! Tests of the room `cli`.

mod relay;
mod sink;
