//! What came and went, for charts, also over a restart.

use super::*;
use crate::support::eventually;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::os::unix::fs::PermissionsExt;

const WINDOWS: [(&str, usize, i64); 3] = [("hour", 60, 60), ("day", 96, 900), ("week", 168, 3600)];

/// Accepted and delivered in that window, which has all its buckets.
fn sums(proxy: &Proxy, window: &str) -> (u64, u64) {
    let (_, buckets, seconds) = *WINDOWS.iter().find(|(name, ..)| *name == window).expect("a window");
    let answer = get(proxy, &format!("/api/v1/stats/history?window={window}")).json();
    assert_eq!((&answer["window"], &answer["bucket_seconds"]), (&window.into(), &seconds.into()), "{answer}");
    let of = answer["buckets"].as_array().expect("a list");
    assert_eq!(of.len(), buckets);
    let start = |bucket: &Value| {
        bucket["start"]
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .expect("a time")
            .as_second()
    };
    assert!(of.windows(2).all(|two| start(&two[1]) - start(&two[0]) == seconds), "{answer}");
    assert_eq!(start(&of[0]) % seconds, 0);
    let sum = |kind: &str| of.iter().map(|bucket| bucket[kind].as_u64().expect("a number")).sum();
    assert_eq!((sum("deferred"), sum("failed")), (0_u64, 0_u64), "{answer}");
    (sum("accepted"), sum("delivered"))
}

#[test]
fn what_came_and_went_is_shown_at_once_and_after_a_restart() {
    let recorder = Recorder::start();
    let mut proxy = Proxy::start(&recorder.upstream("only"));
    let file = proxy.data_dir().join("statistics.json");
    assert_eq!(sums(&proxy, "hour"), (0, 0));
    // One that had nothing to count keeps nothing.
    assert!(proxy.terminate().success());
    assert!(!file.exists());

    proxy.start_again();
    for _ in 0..2 {
        assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    }
    for (window, ..) in WINDOWS {
        eventually("both are counted", || (sums(&proxy, window) == (2, 2)).then_some(()));
    }
    let without = get(&proxy, "/api/v1/stats/history").json();
    assert_eq!(without["window"], "hour", "{without}");
    let wrong = get(&proxy, "/api/v1/stats/history?window=month").problem();
    assert!(wrong.0 == 400 && wrong.1.contains("month") && wrong.1.contains("week"), "{wrong:?}");
    assert!(get(&proxy, "/api/v1/stats/history?windw=day").problem().1.contains("`window`"));

    assert!(proxy.terminate().success());
    assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o7777, 0o600);
    proxy.start_again();
    for (window, ..) in WINDOWS {
        assert_eq!(sums(&proxy, window), (2, 2), "{window}");
    }
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    eventually("the third", || (sums(&proxy, "week") == (3, 3)).then_some(()));
}

#[test]
fn a_file_that_cannot_be_used_is_told_and_begun_anew() {
    let mut proxy = Proxy::start("");
    let file = proxy.data_dir().join("statistics.json");
    assert!(proxy.terminate().success());
    for (kept, why) in [("{\"version\":1,\"hour\":", "damaged"), ("{\"version\":9}", "version 9")] {
        std::fs::write(&file, kept).expect("data_dir is there");
        proxy.start_again();
        proxy.wait_until_said("statistics.json cannot be used, charts begin anew");
        proxy.wait_until_said(why);
        assert_eq!(sums(&proxy, "week"), (0, 0));
        assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
        assert!(proxy.terminate().success());
        proxy.start_again();
        assert_eq!(sums(&proxy, "week").0, 1);
        assert!(proxy.terminate().success());
    }
}
