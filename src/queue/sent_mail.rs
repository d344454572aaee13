//! Sent mail that is archived: its records, kept beside the queue. The contents are files, see [`super::Archive`].

use super::error::Pending;
use super::filter::Filter;
use super::mail_store::MailStore;
use crate::clock::Moment;
use crate::mail::{Message, QueueId};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A day in UTC: what sent mail is filed under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Day(Date);

impl Day {
    /// The day of a time.
    pub fn of(time: Timestamp) -> Day {
        Day(time.to_zoned(TimeZone::UTC).date())
    }

    /// As 20261120, so that days are in order as numbers are.
    pub(super) fn number(self) -> u32 {
        let part = |number: i8| u32::try_from(number).unwrap_or(0);
        u32::try_from(self.0.year()).unwrap_or(0) * 10_000 + part(self.0.month()) * 100 + part(self.0.day())
    }

    /// The day with this number, if there is one.
    pub(super) fn from_number(number: u32) -> Option<Day> {
        let part = |number: u32| i8::try_from(number % 100).ok();
        let year = i16::try_from(number / 10_000).ok()?;
        Some(Day(Date::new(year, part(number / 100)?, part(number)?).ok()?))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Day {
    type Err = ();

    /// As 2026-11-20 and in no other form.
    fn from_str(text: &str) -> Result<Day, ()> {
        let date: Date = text.parse().map_err(drop)?;
        if date.to_string() == text { Ok(Day(date)) } else { Err(()) }
    }
}

/// A message that every recipient of was delivered, and whose content is in the archive.
#[derive(Clone, PartialEq, Debug)]
pub struct SentMessage {
    /// As it was when its last recipient was decided.
    pub message: Arc<Message>,
    /// When that was; its day is the one that it is archived under.
    pub sent_at: Timestamp,
}

/// A page of a listing of sent mail, newest first.
#[derive(Clone, Debug, Default)]
pub struct SentPage {
    /// At most as many as asked for.
    pub messages: Vec<SentMessage>,
    /// Where the next page begins; none at the end.
    pub next: Option<QueueId>,
}

/// What is known of a day of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchivedDay {
    /// There is mail of it; the last was archived at that moment.
    Kept {
        /// See [`Timeline::common_now`](super::Timeline::common_now).
        last: Moment,
    },
    /// Its records are removed. Its folder may still be there: files in it are none of ours, or the removal was interrupted.
    Forgotten,
}

/// Records of sent mail.
pub trait SentMail: MailStore {
    /// A page of at most `limit` sent messages, newest first, from `cursor` on (inclusive). They are in the state that
    /// [`Message::state`] says: a filter that asks for another one finds none.
    fn list_sent(&self, filter: Filter, cursor: Option<QueueId>, limit: usize) -> Pending<'_, SentPage>;

    /// One sent message.
    fn show_sent(&self, id: QueueId) -> Pending<'_, SentMessage>;

    /// The days that there is, or was, sent mail of.
    fn archive_days(&self) -> Pending<'_, Vec<(Day, ArchivedDay)>>;

    /// Files were found under a day that nothing is known of: it counts from now on.
    fn find_day(&self, day: Day) -> Pending<'_, ()>;

    /// Forgets sent mail of a day to which nothing was added since the moment `before`, in several commits, so that other
    /// work goes on in between. Returns whether it did; the day itself stays known as forgotten.
    fn forget_sent(&self, day: Day, before: Moment) -> Pending<'_, bool>;

    /// No files are left under a day that was forgotten: the day is forgotten, too.
    fn forget_day(&self, day: Day) -> Pending<'_, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_numbers_and_folder_names() {
        for text in ["1970-01-01", "2026-11-20", "9999-12-31"] {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.to_string().as_str(), Day::from_number(day.number())), (text, Some(day)));
        }
        assert_eq!(Day::of("2026-11-20T23:59:59.999Z".parse().unwrap()).to_string(), "2026-11-20");
        for wrong in ["20261120", "2026-11-31", "2026-11-20T00:00", "mail", "", ".."] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
        assert_eq!(Day::from_number(20_261_131), None);
    }
}
