//! Faults of storage, process and resources, against the running binary (CASES D and E, G10).

mod disk;
mod flipped;
mod full;
mod memory;
mod process;
mod readonly;
mod refused;
mod swallow;
