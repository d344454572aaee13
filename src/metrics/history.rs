//! What came and went over the last hour, day and week, for charts.
//!
//! Whoever asks says what time it is and what has been counted since the start of the process: nothing here reads a clock, a counter
//! or a file.
//!
//! # Promises
//! - A series has all its buckets, with zeros where nothing was, and what was counted until this moment.
//! - A wall clock that jumps loses nothing that was counted: it is shown again when the clock is right again.
//! - It takes a few KiB, whatever happens.

use super::Totals;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use utoipa::ToSchema;

/// Written into the file; one that is not known is not read.
const VERSION: u32 = 1;
/// What was counted between two looks belongs to the first of them, unless they lie farther apart, in seconds: then the machine
/// slept or its clock jumped.
const LONGEST_GAP: i64 = 120;

/// How far back a series goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// 60 minutes.
    #[default]
    Hour,
    /// 96 quarters of an hour.
    Day,
    /// 168 hours.
    Week,
}

impl Window {
    const ALL: [Window; 3] = [Window::Hour, Window::Day, Window::Week];

    /// How long each of its buckets is.
    pub fn bucket_seconds(self) -> u32 {
        match self {
            Window::Hour => 60,
            Window::Day => 15 * 60,
            Window::Week => 60 * 60,
        }
    }

    /// How many there are.
    pub fn buckets(self) -> usize {
        match self {
            Window::Hour => 60,
            Window::Day => 24 * 4,
            Window::Week => 7 * 24,
        }
    }

    /// When the bucket of that time starts, in seconds since 1970.
    fn start_of(self, time: Timestamp) -> i64 {
        let width = i64::from(self.bucket_seconds());
        time.as_second().div_euclid(width) * width
    }
}

/// What came and went in a part of a window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, ToSchema)]
pub struct Bucket {
    /// UTC; a multiple of its length.
    pub start: Timestamp,
    /// Messages.
    pub accepted: u64,
    /// Recipients, each time an attempt decides about one.
    pub delivered: u64,
    /// Recipients.
    pub deferred: u64,
    /// Recipients that failed or expired.
    pub failed: u64,
}

impl Bucket {
    fn add(&mut self, counted: Totals) {
        let Totals { accepted, delivered, deferred, failed, expired } = counted;
        self.accepted = self.accepted.saturating_add(accepted);
        self.delivered = self.delivered.saturating_add(delivered);
        self.deferred = self.deferred.saturating_add(deferred);
        self.failed = self.failed.saturating_add(failed).saturating_add(expired);
    }
}

/// Why what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No JSON, or not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// By a version of Postroom that is newer.
    #[error("it is of version {0}, and this Postroom knows {VERSION}")]
    Newer(u32),
}

/// The buckets of all windows.
pub struct TrafficHistory(Mutex<Buckets>);

#[derive(Clone, Default)]
struct Buckets {
    /// Of each window, in the order of [`Window::ALL`], by the second of the start: those in which something was.
    windows: [BTreeMap<i64, Bucket>; 3],
    /// When was last looked, by the wall clock.
    seen_at: Timestamp,
    /// What had been counted then.
    seen: Totals,
}

/// As they are written.
#[derive(Serialize, Deserialize)]
struct KeptHistory {
    version: u32,
    hour: Vec<Bucket>,
    day: Vec<Bucket>,
    week: Vec<Bucket>,
}

#[derive(Deserialize)]
struct KeptVersion {
    version: u32,
}

impl TrafficHistory {
    /// Of a process that starts: nothing has been counted.
    pub fn new(now: Timestamp) -> TrafficHistory {
        TrafficHistory(Mutex::new(Buckets { seen_at: now, ..Buckets::default() }))
    }

    /// The same with what an earlier process kept.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn restored(kept: &[u8], now: Timestamp) -> Result<TrafficHistory, HistoryError> {
        let damaged = |error: serde_json::Error| HistoryError::Damaged(error.to_string());
        let KeptVersion { version } = serde_json::from_slice(kept).map_err(damaged)?;
        if version != VERSION {
            return Err(HistoryError::Newer(version));
        }
        let KeptHistory { hour, day, week, .. } = serde_json::from_slice(kept).map_err(damaged)?;
        let mut buckets = Buckets { seen_at: now, ..Buckets::default() };
        for ((window, kept), into) in Window::ALL.into_iter().zip([hour, day, week]).zip(&mut buckets.windows)
        {
            for bucket in kept {
                if window.start_of(bucket.start) != bucket.start.as_second() {
                    return Err(HistoryError::Damaged(format!(
                        "no {window:?} has a part from {}",
                        bucket.start
                    )));
                }
                into.insert(bucket.start.as_second(), bucket);
                keep_nearest(into, window, now);
            }
        }
        Ok(TrafficHistory(Mutex::new(buckets)))
    }

    /// Puts what was counted since the last time into its buckets. True: there was something.
    pub fn record(&self, now: Timestamp, totals: Totals) -> bool {
        self.lock().record(now, totals)
    }

    /// All buckets of the window, oldest first, with what was counted since the last [`TrafficHistory::record`]. The last one is not
    /// over.
    pub fn series(&self, window: Window, now: Timestamp, totals: Totals) -> Vec<Bucket> {
        let mut buckets = self.lock().clone();
        buckets.record(now, totals);
        let kept = &buckets.windows[window as usize];
        let last = window.start_of(now);
        let width = i64::from(window.bucket_seconds());
        let starts = (0..window.buckets() as i64).rev().map(|back| last - back * width);
        let bucket = |start| {
            let empty =
                || Bucket { start: Timestamp::from_second(start).unwrap_or_default(), ..Bucket::default() };
            kept.get(&start).copied().unwrap_or_else(empty)
        };
        starts.map(bucket).collect()
    }

    /// What a later process starts with.
    pub fn to_json(&self) -> String {
        let [hour, day, week] = self.lock().windows.each_ref().map(|kept| kept.values().copied().collect());
        // Nothing in it can fail to be written.
        serde_json::to_string(&KeptHistory { version: VERSION, hour, day, week }).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn record(&mut self, now: Timestamp, totals: Totals) -> bool {
        let counted = totals.since(self.seen);
        let passed = now.as_second() - self.seen_at.as_second();
        let at = if (0..=LONGEST_GAP).contains(&passed) { self.seen_at } else { now };
        (self.seen_at, self.seen) = (now, totals);
        if counted == Totals::default() {
            return false;
        }
        for (window, kept) in Window::ALL.into_iter().zip(&mut self.windows) {
            let start = window.start_of(at);
            let bucket = kept.entry(start).or_default();
            bucket.start = Timestamp::from_second(start).unwrap_or_default();
            bucket.add(counted);
            keep_nearest(kept, window, at);
        }
        true
    }
}

/// As many as the window has, whichever way the clock jumps: the one that is farthest from now goes first.
fn keep_nearest(kept: &mut BTreeMap<i64, Bucket>, window: Window, now: Timestamp) {
    let now = window.start_of(now);
    while kept.len() > window.buckets()
        && let (Some(first), Some(last)) = (kept.keys().next().copied(), kept.keys().next_back().copied())
    {
        let farthest = if now.abs_diff(first) >= now.abs_diff(last) { first } else { last };
        kept.remove(&farthest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOW.div_euclid(3600) * 3600 + seconds).unwrap()
    }

    fn delivered(count: u64) -> Totals {
        Totals { delivered: count, ..Totals::default() }
    }

    /// How many minutes ago, and how many recipients were delivered then.
    fn shown(history: &TrafficHistory, window: Window, now: Timestamp, totals: Totals) -> Vec<(usize, u64)> {
        let series = history.series(window, now, totals);
        assert_eq!(series.len(), window.buckets());
        let width = i64::from(window.bucket_seconds());
        assert!(series.windows(2).all(|two| two[1].start.as_second() - two[0].start.as_second() == width));
        let last = series.last().unwrap().start;
        assert!(last <= now && now.as_second() < last.as_second() + width, "{last} {now}");
        let back = series.iter().rev().enumerate();
        back.filter(|(_, bucket)| bucket.delivered > 0)
            .map(|(back, bucket)| (back, bucket.delivered))
            .collect()
    }

    #[test]
    fn what_was_counted_is_shown_at_once_and_stays_in_its_minute() {
        let history = TrafficHistory::new(at(0));
        assert_eq!(shown(&history, Window::Hour, at(30), delivered(0)), []);
        assert_eq!(shown(&history, Window::Hour, at(30), delivered(3)), [(0, 3)]);
        assert_eq!(shown(&history, Window::Hour, at(30), delivered(3)), [(0, 3)], "reading counts nothing");
        // A little late: the minute before was meant.
        assert!(history.record(at(60), delivered(3)));
        assert_eq!(shown(&history, Window::Hour, at(61), delivered(5)), [(0, 2), (1, 3)]);
        assert!(history.record(at(120), delivered(5)));
        assert!(!history.record(at(180), delivered(5)), "nothing is new");
        assert_eq!(shown(&history, Window::Hour, at(185), delivered(5)), [(2, 2), (3, 3)]);
        assert_eq!(shown(&history, Window::Day, at(185), delivered(5)), [(0, 5)]);
        assert_eq!(shown(&history, Window::Day, at(15 * 60), delivered(5)), [(1, 5)]);
        assert_eq!(shown(&history, Window::Week, at(167 * 3600), delivered(5)), [(167, 5)]);
        assert_eq!(shown(&history, Window::Week, at(168 * 3600), delivered(5)), []);
        assert_eq!(shown(&history, Window::Hour, at(59 * 60), delivered(5)), [(58, 2), (59, 3)]);
        assert_eq!(shown(&history, Window::Hour, at(60 * 60), delivered(5)), [(59, 2)]);
    }

    #[test]
    fn each_kind_is_counted_and_what_expires_has_failed() {
        let history = TrafficHistory::new(at(0));
        let totals = Totals { accepted: 1, delivered: 2, deferred: 3, failed: 4, expired: 5 };
        let last = *history.series(Window::Week, at(1), totals).last().unwrap();
        assert_eq!(last, Bucket { start: at(0), accepted: 1, delivered: 2, deferred: 3, failed: 9 });
    }

    #[test]
    fn a_clock_that_jumps_loses_nothing() {
        let year = 365 * 24 * 3600;
        for jump in [-year, -600, 600, year] {
            let history = TrafficHistory::new(at(0));
            for minute in 1..=10 {
                history.record(at(minute * 60), delivered(minute as u64));
            }
            let before = shown(&history, Window::Hour, at(601), delivered(10));
            assert_eq!(before, (1..=10).map(|back| (back, 1)).collect::<Vec<_>>());
            for minute in 11..=15 {
                history.record(at(jump + minute * 60), delivered(minute as u64));
                shown(&history, Window::Hour, at(jump + minute * 60 + 1), delivered(minute as u64 + 1));
            }
            history.record(at(600), delivered(15));
            let sum = |window| -> u64 {
                let shown = shown(&history, window, at(700), delivered(16));
                shown.iter().map(|(_, count)| count).sum()
            };
            assert!(sum(Window::Hour) >= 11, "{jump}: {}", sum(Window::Hour));
            let all: u64 = history.lock().windows[0].values().map(|bucket| bucket.delivered).sum();
            assert_eq!(all, 15, "{jump}");
        }
    }

    #[test]
    fn its_size_is_bounded_whatever_the_clock_does() {
        let history = TrafficHistory::new(at(0));
        for step in 1..5_000_i64 {
            let jump = if step % 7 == 0 { -1 } else { 1 } * step * 977;
            history.record(at(jump), delivered(step as u64));
        }
        for (window, kept) in Window::ALL.into_iter().zip(&history.lock().windows) {
            assert!(kept.len() <= window.buckets());
        }
    }

    #[test]
    fn what_is_kept_is_what_comes_back() {
        let history = TrafficHistory::new(at(0));
        history.record(at(60), delivered(3));
        history.record(at(4000), delivered(9));
        let again = TrafficHistory::restored(history.to_json().as_bytes(), at(4010)).unwrap();
        for window in Window::ALL {
            assert_eq!(
                again.series(window, at(4020), delivered(0)),
                history.series(window, at(4020), delivered(9)),
                "{window:?}"
            );
        }
        // A new process counts from zero.
        assert_eq!(shown(&again, Window::Hour, at(4020), delivered(2)), [(1, 8)]);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let bucket = r#"{"start":"2026-11-22T00:00:01Z","accepted":1,"delivered":1,"deferred":0,"failed":0}"#;
        for (kept, what) in [
            ("", "damaged"),
            ("{", "damaged"),
            ("[]", "damaged"),
            (r#"{"version":1}"#, "damaged"),
            (r#"{"version":2,"months":[]}"#, "version 2"),
            (&format!(r#"{{"version":1,"hour":[{bucket}],"day":[],"week":[]}}"#), "2026-11-22T00:00:01Z"),
        ] {
            let error = TrafficHistory::restored(kept.as_bytes(), at(0)).err().expect(kept).to_string();
            assert!(error.contains(what), "{kept}: {error}");
        }
    }
}
