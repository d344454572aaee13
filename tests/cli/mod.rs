//! Tests of the room `cli`.

mod demo;
mod documents;
mod records;
mod relay;
mod reload;
mod sink;
mod stop;
mod survive;
mod verbs;
