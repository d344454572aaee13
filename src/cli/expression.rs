//! Filters on the command line: read before the proxy is asked, so that an error shows where it is.

use super::table::safe;
use super::{Failure, Global};
use crate::clock::{Clock, SystemClock};
use crate::queue::Filter;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// The filter that an expression means now.
pub(super) fn parse(expression: &str) -> Result<Filter, Failure> {
    Filter::parse(expression, &now()).map_err(|error| Failure::Usage(error.pointed()))
}

/// Where nothing was found: says which upstreams and sites of the filter are not configured, since they may be misspelt.
pub(super) fn warn_of_unknown_names(global: &Global, filter: &Filter) {
    let Ok(loaded) = global.load() else { return };
    let upstreams: Vec<&str> = loaded.settings.upstreams.iter().map(|one| one.name.as_str()).collect();
    let sites: Vec<&str> = loaded.settings.sites.keys().map(String::as_str).collect();
    let warn = |kind: &str, name: &str, known: &[&str]| {
        if !known.iter().any(|one| one.eq_ignore_ascii_case(name)) {
            let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            eprintln!(
                "postroom: no {kind} `{}` is configured, and no such mail was found; configured: {there_are}",
                safe(name, 100)
            );
        }
    };
    filter.upstreams().for_each(|name| warn("upstream", name, &upstreams));
    filter.sites().for_each(|name| warn("site", name, &sites));
}

/// In the time zone of who asks.
pub(super) fn now() -> Zoned {
    SystemClock::default().wall().to_zoned(TimeZone::system())
}
