//! A listing of messages on its way to standard output, page by page: a table, or one array of JSON.

use super::Failure;
use super::client::Client;
use super::table::{Column, Table};
use crate::admin::json::{MessageJson, MessagesJson};
use crate::admin::safe_json::to_json;
use crate::mail::QueueId;
use crate::queue::QueueError;
use std::io::Write;
use std::num::NonZeroUsize;

/// Messages asked for at a time.
const PAGE: usize = 1000;

pub(super) struct Listing {
    /// None for JSON.
    table: Option<Table>,
    /// At most that many are shown.
    limit: usize,
    row: fn(&MessageJson) -> Vec<String>,
    /// The array of JSON has been opened.
    begun: bool,
    pub(super) shown: usize,
}

impl Listing {
    pub(super) fn new(
        json: bool,
        limit: Option<NonZeroUsize>,
        columns: &'static [Column],
        row: fn(&MessageJson) -> Vec<String>,
    ) -> Listing {
        let table = (!json).then(|| Table::new(columns));
        Listing { table, limit: limit.map_or(usize::MAX, NonZeroUsize::get), row, begun: false, shown: 0 }
    }

    /// How many may be on the next page.
    fn left(&self) -> usize {
        self.limit.saturating_sub(self.shown).min(PAGE)
    }

    /// All pages that a running proxy has at `route`, so that memory does not follow their number. `query`: what is asked for, as
    /// it stands in the route, each part behind `&`.
    pub(super) async fn ask(&mut self, client: &mut Client, route: &str, query: &str) -> Result<(), Failure> {
        let mut cursor = String::new();
        while self.left() > 0 {
            let path = format!("{route}?limit={}{query}{cursor}", self.left());
            let page: MessagesJson = client.get(&path).await?;
            self.page(&page.messages, page.next_cursor.is_some())?;
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        Ok(())
    }

    /// All pages that `read` finds in the queue file, from a cursor on and at most so many.
    pub(super) fn read(
        &mut self,
        read: impl Fn(Option<QueueId>, usize) -> Result<(MessagesJson, Option<QueueId>), QueueError>,
    ) -> Result<(), Failure> {
        let mut cursor = None;
        while self.left() > 0 {
            let (page, next) = read(cursor, self.left())?;
            self.page(&page.messages, next.is_some())?;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// A page, behind which there may be more. Of a search that has found nothing yet the beginning is shown, too.
    fn page(&mut self, messages: &[MessageJson], more: bool) -> Result<(), Failure> {
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
