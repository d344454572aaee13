//! `[webhook.*]` is read.

use super::https_url;
use super::in_force::Shown;
use super::origin::Layer;
use super::read_secret;
use super::section::{ConfigReader, Section};
use super::settings::Webhook;
use super::topic::Topic;
use std::collections::BTreeSet;

const URL_FORM: &str = r#"give it the receiver's URL, such as "https://ops.example.com/postroom""#;
const ON_FORM: &str =
    r#"give it a list of delivered, deferred, failed, expired, bounced, held, circuit, mode, token"#;
const INSTEAD_OF_USER: &str =
    "leave user and password out, and give secret: the receiver knows by the signature who sends";

/// The default of `url` is an example, so it must be given.
pub(super) fn read(reader: &ConfigReader<'_>, section: &Section<'_>) -> Webhook {
    let is_given = section.origin("url").layer != Layer::Default;
    let mut shown = String::new();
    let url = section.read("url", URL_FORM, String::new(), |text: String| {
        if text.is_empty() {
            return Err("is empty".into());
        }
        let url = https_url::parse(&text, INSTEAD_OF_USER)?;
        let rest = url.path_and_query().map_or("", |rest| rest.as_str());
        let (scheme, authority) =
            (url.scheme_str().unwrap_or_default(), url.authority().map_or("", |it| it.as_str()));
        shown = format!("{scheme}://{authority}{}", if rest.len() > 1 { "/****" } else { rest });
        Ok(text)
    });
    // Many services know who sends by the path alone.
    section.show("url", Shown::Text(shown));
    if !is_given && section.is_sound("url") {
        section.wrong("url", "is missing", URL_FORM);
    }
    Webhook {
        name: section.name().to_owned(),
        url: url.into(),
        on: section.read("on", ON_FORM, BTreeSet::new(), |words: Vec<String>| match words.as_slice() {
            [] => Err("is empty".into()),
            words => words.iter().map(|word| Topic::parse(word)).collect(),
        }),
        secret: read_secret::read(reader, section, "secret"),
    }
}
