//! Addresses without a domain: cron writes to `root`, and every server has a `Postmaster` (RFC 5321 section 4.5.1).

use crate::config::settings::Aliases;
use crate::mail::Address;
use crate::mail::address::{AddressError, qualified};

/// What an address without a domain means (rule 8).
#[derive(Clone, Copy, Debug)]
pub struct AddressCompletion<'a> {
    /// `default_domain`.
    pub domain: &'a str,
    /// `[aliases]`, which come first, for recipients alone: a sender is never replaced.
    pub aliases: Option<&'a Aliases>,
}

/// No aliases.
impl<'a> From<&'a str> for AddressCompletion<'a> {
    fn from(domain: &'a str) -> AddressCompletion<'a> {
        AddressCompletion { domain, aliases: None }
    }
}

impl AddressCompletion<'_> {
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
