//! Tests of the module `cli`.

mod bulk;
mod cut_short;
mod demo;
mod documents;
mod faults;
mod generated;
mod hostile;
mod idle;
mod log;
mod output;
mod questions;
mod records;
mod refused;
mod relay;
mod reload;
mod secrets;
mod sendmail;
mod sink;
mod start;
mod stop;
mod survive;
mod test;
mod upstream;
mod verbs;
