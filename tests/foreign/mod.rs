//! Programs that nobody here wrote, on both sides of the running proxy: the libraries that applications send with, and
//! the servers that people relay through.

pub mod clients;
mod everywhere;
mod faults;
mod front_door;
mod keys;
pub mod letters;
mod login;
mod outcome;
mod sendmail;
mod upstreams;
