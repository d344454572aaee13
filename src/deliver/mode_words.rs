//! What is said of a recipient whose mail debug or simulate has decided about.

use crate::mail::Address;

/// Debug has taken it.
pub(super) const LOGGED_ONLY: &str = "logged only: debug is on, nothing was sent";

/// Debug has let it fail by chance.
pub(super) fn failed(address: &Address) -> String {
    format!("Sending failed for {address}")
}

/// Simulate has.
pub(super) fn simulated(address: &Address) -> String {
    format!("Sending failed for {address} [Simulated error].")
}
