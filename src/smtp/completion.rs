//! Addresses without a domain: cron writes to `root`, and every server has a `Postmaster` (RFC 5321 section 4.5.1).

use crate::config::settings::Aliases;
use crate::mail::Address;
use crate::mail::address::{AddressError, qualified};

/// What an address without a domain means (rule 8).
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// `default_domain`.
    pub domain: &'a str,
    /// `[aliases]`, which come first, for recipients alone: who sends is who says so.
    pub aliases: Option<&'a Aliases>,
}

/// No aliases.
impl<'a> From<&'a str> for Completion<'a> {
    fn from(domain: &'a str) -> Completion<'a> {
        Completion { domain, aliases: None }
    }
}

impl Completion<'_> {
    /// The address that a local part alone stands for.
    ///
    /// # Errors
    /// With its domain it is too long.
    pub fn complete(self, local: &str) -> Result<Address, AddressError> {
        match self.aliases.and_then(|aliases| aliases.find(local)) {
            Some(address) => Ok(address.clone()),
            None => qualified(local, self.domain),
        }
    }
}
