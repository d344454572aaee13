//! Exit codes, by the names of sysexits.h; docs/rules.md says when which.

/// The arguments are wrong, or name no recipient.
pub(super) const USAGE: u8 = 64;
/// An address is none, or the server cannot take it.
pub(super) const DATAERR: u8 = 65;
/// Accepted for some, not for others; or the server knows none of them.
pub(super) const NOUSER: u8 = 67;
/// Refused for good.
pub(super) const UNAVAILABLE: u8 = 69;
/// The system does not give what is needed.
pub(super) const OSERR: u8 = 71;
/// Standard input or output fails.
pub(super) const IOERR: u8 = 74;
/// The same again, later, may work.
pub(super) const TEMPFAIL: u8 = 75;
/// `mailq`: not permitted.
pub(super) const NOPERM: u8 = 77;
/// `mailq`: the configuration is wrong.
pub(super) const CONFIG: u8 = crate::cli::EXIT_CONFIG;

/// Nothing was done: the exit code, and why.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Failed(pub(super) u8, pub(super) String);
