//! A listing of messages on its way to standard output, page by page: a table, or one array of JSON.

use super::Failure;
use super::table::{Column, Table};
use crate::admin::json::MessageJson;
use crate::admin::safe_json::to_json;
use std::io::Write;

pub(super) struct Listing {
    /// None for JSON.
    table: Option<Table>,
    row: fn(&MessageJson) -> Vec<String>,
    pub(super) shown: usize,
}

impl Listing {
    pub(super) fn new(
        json: bool,
        columns: &'static [Column],
        row: fn(&MessageJson) -> Vec<String>,
    ) -> Listing {
        Listing { table: (!json).then(|| Table::new(columns)), row, shown: 0 }
    }

    pub(super) fn page(&mut self, messages: &[MessageJson]) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match &mut self.table {
            Some(table) => table.rows(&mut out, &messages.iter().map(self.row).collect::<Vec<_>>())?,
            None => {
                for (place, message) in messages.iter().enumerate() {
                    let before = if self.shown + place == 0 { "[" } else { ",\n" };
                    write!(out, "{before}{}", to_json(message)?)?;
                }
            }
        }
        self.shown += messages.len();
        Ok(out.flush()?)
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        match (self.table, self.shown) {
            (None, 0) => writeln!(std::io::stdout(), "[]")?,
            (None, _) => writeln!(std::io::stdout(), "]")?,
            (Some(_), 0) => writeln!(std::io::stdout(), "No messages.")?,
            (Some(_), _) => {}
        }
        Ok(())
    }
}

/// The first recipient and how many more there are.
pub(super) fn recipients(message: &MessageJson) -> String {
    match &message.recipients[..] {
        [] => String::new(),
        [only] => only.address.clone(),
        [first, rest @ ..] => format!("{} +{}", first.address, rest.len()),
    }
}
