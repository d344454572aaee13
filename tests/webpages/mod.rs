//! The pages of the web admin as a client without a script gets them; tests/browser looks at them in a browser.

mod configuration;
mod dashboard;
mod events;
mod message;
mod message_content;
mod queue;
mod reader;
mod send;
mod sent;
mod settings;
mod upstreams;

use crate::admin::Admin;

/// The page at `path`, as text.
#[track_caller]
pub fn page(admin: &Admin, path: &str, headers: &[&str]) -> String {
    let answer = admin.get(path, &[headers, &["Accept: text/html"]].concat());
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
    answer.text()
}

/// What the forms of a page send as `csrf_token`.
#[track_caller]
pub fn csrf_token(page: &str) -> String {
    let after = page.split_once("name=\"csrf_token\" value=\"").expect("a form").1;
    after.split_once('"').expect("a value").0.to_owned()
}
