//! JSON that is safe to show on a terminal: what must not get there (controls, marks that change the direction of writing) is
//! escaped; the values stay exact.

use crate::mail::printable::escaped_json;
use serde::Serialize;

/// A value in JSON on one line, safe to show on a terminal.
///
/// # Errors
/// The value cannot be written as JSON: a mistake in its type.
pub(crate) fn to_json(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(|text| escaped_json(&text))
}

/// As [`to_json`], indented for people.
///
/// # Errors
/// As [`to_json`].
pub(crate) fn to_json_pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(|text| escaped_json(&text))
}
