//! Filters on the command line: read before the proxy is asked, so that an error shows where it is.

use super::Failure;
use crate::clock::{Clock, SystemClock};
use crate::queue::Filter;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// The filter that an expression means now.
pub(super) fn parse(expression: &str) -> Result<Filter, Failure> {
    Filter::parse(expression, &now()).map_err(|error| Failure::Usage(error.pointed()))
}

/// In the time zone of who asks.
pub(super) fn now() -> Zoned {
    SystemClock::default().wall().to_zoned(TimeZone::system())
}
