//! What is shipped for Prometheus and Grafana: sound by their own tools and rules, and documented.

use super::prometheus::shipped;
use crate::front_door::{quoted, rows};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn alerts() -> String {
    std::fs::read_to_string(shipped("prometheus/alerts.yaml")).unwrap()
}

fn promtool(arguments: &[&str]) {
    succeeded(Command::new("promtool").args(arguments), b"");
}

#[test]
fn prometheus_takes_the_rules_and_the_scrape_and_each_alert_fires_when_it_should() {
    if !have(&["promtool"]) {
        return;
    }
    let rules = shipped("prometheus/alerts.yaml").display().to_string();
    promtool(&["check", "rules", &rules]);
    // With a token in its place.
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(place("postroom.token"), "token").unwrap();
    std::fs::copy(&rules, place("alerts.yaml")).unwrap();
    let scrape = std::fs::read_to_string(shipped("prometheus/scrape.yaml")).unwrap();
    let moved = scrape.replace("/etc/prometheus/postroom.token", &place("postroom.token"));
    assert_ne!(moved, scrape);
    std::fs::write(place("scrape.yaml"), moved).unwrap();
    promtool(&["check", "config", &place("scrape.yaml")]);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metrics/alerts.yaml");
    promtool(&["test", "rules", &tests.display().to_string()]);
}

#[test]
fn every_alert_has_its_time_its_words_its_row_and_its_test() {
    let text = alerts();
    let parts: Vec<&str> = text.split("- alert: ").skip(1).collect();
    let name = |part: &&str| part.lines().next().unwrap().to_owned();
    let names: BTreeSet<String> = parts.iter().map(name).collect();
    assert_eq!(names.len(), parts.len(), "two have one name");
    for part in &parts {
        for key in ["expr: ", "for: ", "severity: ", "summary: ", "description: "] {
            assert!(part.contains(key), "{} has no {key}", name(part));
        }
        assert!(part.contains("runbook: docs/monitoring.md#alerts"), "{}", name(part));
    }
    let documented: BTreeSet<String> =
        rows("monitoring.md", "Alerts").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(documented, names);
    let tests = include_str!("alerts.yaml");
    let tested: BTreeSet<String> =
        tests.split("- name: ").skip(1).map(|part| part.lines().next().unwrap().to_owned()).collect();
    assert_eq!(tested, names);
    for one in names {
        assert!(tests.contains(&format!("alertname=\"{one}\", instance=\"bad\"")), "{one} is seen to fire");
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let text = std::fs::read_to_string(shipped("grafana/postroom.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let kinds: BTreeSet<&str> = panels.iter().map(|panel| panel["type"].as_str().unwrap()).collect();
    // What Grafana has deprecated (graph, singlestat, table-old) is not among them.
    assert_eq!(kinds, BTreeSet::from(["row", "stat", "table", "timeseries"]));
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    assert!(dashboard["id"].is_null(), "the importing Grafana gives it one");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for cell in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cell.0 < 24 && taken.insert(cell), "{} lies on another panel", panel["title"]);
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard_or_in_an_alert() {
    let used = alerts() + &std::fs::read_to_string(shipped("grafana/postroom.json")).unwrap();
    let metrics = rows("monitoring.md", "Metrics").into_iter().map(|row| quoted(&row[0])[0].clone());
    let unused: Vec<String> = metrics.filter(|name| !used.contains(name.as_str())).collect();
    assert!(unused.is_empty(), "nobody looks at {unused:?}");
}
