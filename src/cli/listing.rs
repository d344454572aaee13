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
    /// The array of JSON has been opened.
    begun: bool,
    pub(super) shown: usize,
}

impl Listing {
    pub(super) fn new(
        json: bool,
        columns: &'static [Column],
        row: fn(&MessageJson) -> Vec<String>,
    ) -> Listing {
        Listing { table: (!json).then(|| Table::new(columns)), row, begun: false, shown: 0 }
    }

    /// A page, behind which there may be more. Of a search that has found nothing yet the beginning is shown, too.
    pub(super) fn page(&mut self, messages: &[MessageJson], more: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match &mut self.table {
            Some(_) if messages.is_empty() && !more => {}
            Some(table) => table.rows(&mut out, &messages.iter().map(self.row).collect::<Vec<_>>())?,
            None => {
                if !std::mem::replace(&mut self.begun, true) {
                    write!(out, "[")?;
                }
                for (place, message) in messages.iter().enumerate() {
                    let before = if self.shown + place == 0 { "" } else { ",\n" };
                    write!(out, "{before}{}", to_json(message)?)?;
                }
            }
        }
        self.shown += messages.len();
        Ok(out.flush()?)
    }

    pub(super) fn end(self) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match (self.table, self.shown) {
            (None, _) => writeln!(out, "{}", if self.begun { "]" } else { "[]" })?,
            (Some(_), 0) => writeln!(out, "No messages.")?,
            (Some(_), _) => {}
        }
        Ok(())
    }
}

/// The first of the recipients that it was accepted for, and how many more there are.
pub(super) fn recipients(message: &MessageJson) -> String {
    let mut originals = message.recipients.iter().filter(|one| one.is_original());
    match (originals.next(), originals.count()) {
        (None, _) => String::new(),
        (Some(only), 0) => only.address.clone(),
        (Some(first), more) => format!("{} +{more}", first.address),
    }
}
