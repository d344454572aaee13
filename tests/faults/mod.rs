//! Faults of storage, process and resources, against the running binary.

mod admin_file;
mod bulk;
mod clock;
mod dead_address;
mod descriptors;
pub mod disk;
mod drained;
mod flipped;
mod floor;
mod full;
mod memory;
mod passwords;
mod pickup;
pub mod process;
mod readonly;
mod refused;
mod slow;
mod swallow;
mod sync;
