//! Whoever looks at mail is told where it does not go where it is addressed (rule 6). On standard error, so that a listing
//! stays a listing.

use super::client::Client;
use crate::mail::printable;
use serde_json::Value;

/// Prints the lines of [`crate::policy::notices`].
pub(super) fn print(notices: impl IntoIterator<Item = String>) {
    for notice in notices {
        eprintln!("note: {}", printable(&notice));
    }
}

/// Those in an answer of `/readyz`.
pub(super) fn of(ready: &Value) -> Vec<String> {
    let modes = ready["modes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pickups = ready["pickups"].as_object().into_iter().flatten();
    let trouble =
        |(name, what): (&String, &Value)| format!("pickup.{name}: {}", what.as_str().unwrap_or_default());
    modes.iter().filter_map(|notice| notice.as_str().map(str::to_owned)).chain(pickups.map(trouble)).collect()
}

/// Asks the proxy for them and prints them. A proxy that is not ready tells none.
pub(super) async fn ask(client: &mut Client) {
    if let Ok(ready) = client.get::<Value>("/readyz").await {
        print(of(&ready));
    }
}
