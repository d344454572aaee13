//! What came and went, as a chart: bars of recipients delivered, deferred and failed, one on the other, and a line of messages that were
//! accepted. The numbers stand beside it in words.

use super::shown::{ShownTime, count, thousands};
use crate::metrics::{Bucket, Window};
use jiff::{SignedDuration, Timestamp};

/// Units of the drawing for a bucket, and for the bar in it.
const STEP: usize = 8;
const BAR: usize = 6;
/// Units from the bottom to the top.
const HEIGHT: u64 = 100;

/// A drawing, ready for its template.
pub(super) struct TrafficChart {
    /// `hour`, `day` or `week`.
    pub(super) window: &'static str,
    pub(super) title: &'static str,
    /// Units from left to right.
    pub(super) width: usize,
    /// Paths of SVG.
    pub(super) delivered: String,
    pub(super) deferred: String,
    pub(super) failed: String,
    pub(super) accepted: String,
    /// What the top of the drawing stands for.
    pub(super) top: String,
    pub(super) start: ShownTime,
    /// The end of the last bucket.
    pub(super) end: ShownTime,
    pub(super) totals: ChartTotals,
    /// All of it in a sentence.
    pub(super) text: String,
}

/// Sums over the window.
pub(super) struct ChartTotals {
    pub(super) accepted: String,
    pub(super) delivered: String,
    pub(super) deferred: String,
    pub(super) failed: String,
}

impl TrafficChart {
    /// Of the buckets of that window, oldest first.
    pub(super) fn new(window: Window, buckets: &[Bucket]) -> TrafficChart {
        let (name, title, each) = match window {
            Window::Hour => ("hour", "Last hour", "minute"),
            Window::Day => ("day", "Last day", "quarter of an hour"),
            Window::Week => ("week", "Last week", "hour"),
        };
        let sum = |of: fn(&Bucket) -> u64| buckets.iter().map(of).fold(0, u64::saturating_add);
        let outcomes = |one: &Bucket| one.delivered.saturating_add(one.deferred).saturating_add(one.failed);
        let most = buckets.iter().map(|one| outcomes(one).max(one.accepted)).max().unwrap_or_default();
        let top = round_up(most);
        let [delivered, deferred, failed] = bars(buckets, top);
        let totals = [
            sum(|one| one.accepted),
            sum(|one| one.delivered),
            sum(|one| one.deferred),
            sum(|one| one.failed),
        ];
        let [total_accepted, total_delivered, total_deferred, total_failed] = totals.map(thousands);
        let text = match totals {
            [0, 0, 0, 0] => "no mail".to_owned(),
            _ => format!(
                "{} accepted; of recipients {total_delivered} delivered, {total_deferred} deferred, {total_failed} failed; at most {} in \
                 a {each}",
                count(totals[0], "message"),
                thousands(most),
            ),
        };
        let start = buckets.first().map(|one| one.start).unwrap_or_default();
        let end = buckets.last().map(|one| one.start).unwrap_or_default();
        let last_for = SignedDuration::from_secs(window.bucket_seconds().into());
        TrafficChart {
            window: name,
            title,
            width: buckets.len() * STEP,
            delivered,
            deferred,
            failed,
            accepted: line(buckets, top),
            top: thousands(top),
            start: start.into(),
            end: end.checked_add(last_for).unwrap_or(Timestamp::MAX).into(),
            totals: ChartTotals {
                accepted: total_accepted,
                delivered: total_delivered,
                deferred: total_deferred,
                failed: total_failed,
            },
            text,
        }
    }
}

/// 1, 2 or 5 with zeros behind it: a top that can be read.
fn round_up(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for digit in [1, 2, 5] {
            let top = unit.saturating_mul(digit);
            if top >= most {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// From the bottom, where `top` is the whole height. What is not nothing can be seen.
fn height(value: u64, top: u64) -> u64 {
    let exact = u128::from(value) * u128::from(HEIGHT) / u128::from(top.max(1));
    u64::try_from(exact).unwrap_or(HEIGHT).max(u64::from(value > 0))
}

/// The bars of delivered, deferred and failed, each on those before.
fn bars(buckets: &[Bucket], top: u64) -> [String; 3] {
    let mut paths = [String::new(), String::new(), String::new()];
    for (number, bucket) in buckets.iter().enumerate() {
        let mut bottom = HEIGHT;
        for (path, value) in paths.iter_mut().zip([bucket.delivered, bucket.deferred, bucket.failed]) {
            let height = height(value, top).min(bottom);
            if height > 0 {
                *path += &format!("M{} {bottom}v-{height}h{BAR}v{height}z", number * STEP + (STEP - BAR) / 2);
                bottom -= height;
            }
        }
    }
    paths
}

/// The line of what was accepted, through the middle of each bucket; none where nothing was.
fn line(buckets: &[Bucket], top: u64) -> String {
    if buckets.iter().all(|one| one.accepted == 0) {
        return String::new();
    }
    let point = |(number, one): (usize, &Bucket)| {
        format!(
            "{}{} {}",
            if number == 0 { 'M' } else { 'L' },
            number * STEP + STEP / 2,
            HEIGHT - height(one.accepted, top)
        )
    };
    buckets.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(accepted: u64, delivered: u64, deferred: u64, failed: u64) -> Bucket {
        Bucket { accepted, delivered, deferred, failed, ..Bucket::default() }
    }

    #[test]
    fn bars_stand_on_each_other_and_small_ones_can_be_seen() {
        let chart = TrafficChart::new(Window::Hour, &[bucket(0, 0, 0, 0), bucket(1, 150, 50, 1)]);
        assert_eq!((chart.width, chart.top.as_str()), (16, "500"));
        assert_eq!(chart.delivered, "M9 100v-30h6v30z");
        assert_eq!(chart.deferred, "M9 70v-10h6v10z");
        assert_eq!(chart.failed, "M9 60v-1h6v1z");
        assert_eq!(chart.accepted, "M4 100L12 99");
        assert_eq!(
            chart.text,
            "1 message accepted; of recipients 150 delivered, 50 deferred, 1 failed; at most 201 in a minute"
        );
    }

    #[test]
    fn nothing_is_no_bar_and_the_largest_numbers_are_drawn() {
        let chart = TrafficChart::new(Window::Week, &[Bucket::default(); 168]);
        assert_eq!(
            (chart.delivered.as_str(), chart.accepted.as_str(), chart.text.as_str()),
            ("", "", "no mail")
        );
        let large =
            TrafficChart::new(Window::Day, &[bucket(u64::MAX, u64::MAX, 1, 1), bucket(u64::MAX, 0, 0, 0)]);
        assert!(large.accepted.starts_with("M4 "), "{}", large.accepted);
        assert_eq!([0, 1, 3, 6, 11, 21, 51, 1001].map(round_up), [1, 1, 5, 10, 20, 50, 100, 2000]);
    }
}
