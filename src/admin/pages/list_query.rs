//! What a list of messages is asked for in the address of its page.

use crate::admin::state::AdminState;
use crate::queue::Filter;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;

/// `site=` that means mail of no site. No site has such a name.
pub(super) const NO_SITE: &str = "-";
/// Bytes of a filter: it stands in every link of the page. The command line takes longer ones.
const MAX_FILTER: usize = 500;
/// What may not stand in a value of a query as it is.
const IN_VALUE: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'\'').add(b'<').add(b'>');

/// All of it may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    /// In the filter language.
    pub(super) q: String,
    /// Empty: all.
    pub(super) state: String,
    /// Empty: all; [`NO_SITE`]: none.
    pub(super) site: String,
    /// Where the page begins; empty: at the newest.
    pub(super) cursor: String,
}

impl ListQuery {
    /// Without what somebody has typed and nobody means.
    pub(super) fn normalized(self) -> ListQuery {
        ListQuery { q: self.q.trim().to_owned(), ..self }
    }

    /// All of it in the filter language. Where `q` is wrong, the place of that is the same here.
    pub(super) fn expression(&self) -> String {
        let mut terms = vec![self.q.clone()];
        if !self.state.is_empty() && self.state != super::message_row::DAMAGED {
            terms.push(format!("state:{}", quoted(&self.state)));
        }
        match self.site.as_str() {
            "" => {}
            NO_SITE => terms.push("site:\"\"".to_owned()),
            site => terms.push(format!("site:{}", quoted(site))),
        }
        terms.retain(|term| !term.is_empty());
        terms.join(" ")
    }

    /// What it means.
    ///
    /// # Errors
    /// What is wrong with it, in lines, with the place.
    pub(super) fn filter(&self, admin: &AdminState) -> Result<Filter, String> {
        if self.q.len() + self.state.len() + self.site.len() + self.cursor.len() > MAX_FILTER {
            return Err(format!("this page takes filters of up to {MAX_FILTER} bytes"));
        }
        if !self.cursor.is_empty() {
            crate::admin::query::id(&self.cursor).map_err(|error| error.to_string())?;
        }
        // By itself first: an open quote must not take in what stands behind it.
        admin.filter(&self.q).map_err(|error| error.pointed())?;
        admin.filter(&self.expression()).map_err(|error| error.pointed())
    }

    /// The address of the page that shows it.
    pub(super) fn path(&self, page: &str) -> String {
        let values = [("q", &self.q), ("state", &self.state), ("site", &self.site), ("cursor", &self.cursor)];
        pairs(page, values.into_iter().map(|(key, value)| (key, value.as_str())))
    }
}

/// The address of a page with what it is asked for, without what is empty.
pub(super) fn pairs<'a>(page: &str, values: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let said = values.filter(|(_, value)| !value.is_empty());
    let said = said.map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, IN_VALUE)));
    match said.collect::<Vec<_>>().join("&") {
        none if none.is_empty() => page.to_owned(),
        query => format!("{page}?{query}"),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_what_was_asked() {
        let query = ListQuery {
            q: "to:\"a b\" 100% a+b&c=d #✓".into(),
            state: "held".into(),
            site: NO_SITE.into(),
            cursor: String::new(),
        };
        let path = query.path("/queue");
        assert_eq!(path, "/queue?q=to:%22a%20b%22%20100%25%20a%2Bb%26c=d%20%23%E2%9C%93&state=held&site=-");
        let read = axum::extract::Query::<ListQuery>::try_from_uri(&path.parse().unwrap()).unwrap().0;
        assert_eq!(read, query);
        assert_eq!(query.expression(), "to:\"a b\" 100% a+b&c=d #✓ state:\"held\" site:\"\"");
        assert_eq!(ListQuery::default().path("/queue"), "/queue");
        assert_eq!(ListQuery::default().expression(), "");
    }
}
