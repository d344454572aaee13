//! The text is what docs/monitoring.md says, and what Prometheus' own tool finds good.

use super::stage::{Busy, text};
use crate::front_door::{quoted, rows};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Labels that there may be.
const LABELS: &[&str] = &[
    "listener", "site", "upstream", "result", "reason", "mode", "state", "type", "version", "webhook", "le",
];

/// By name: type and labels.
type Families = BTreeMap<String, (String, BTreeSet<String>)>;

fn documented() -> Families {
    let row = |row: Vec<String>| {
        let labels = row[2].split(", ").filter(|label| *label != "–").map(str::to_owned).collect();
        (quoted(&row[0])[0].clone(), (row[1].clone(), labels))
    };
    rows("monitoring.md", "Metrics").into_iter().map(row).collect()
}

fn exposed(text: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            current = name.to_owned();
            let before = families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(before.is_none(), "{name} twice");
        } else if !line.starts_with('#') {
            let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
            let labels = labels.map(|(labels, _)| labels).unwrap_or_default();
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            families.get_mut(&current).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels_and_every_documented_one_is_there() {
    let busy = Busy::start();
    let text = text(&busy.proxy);
    let (exposed, documented) = (exposed(&text), documented());
    assert_eq!(exposed, documented);
    for (name, (_, labels)) in &exposed {
        assert!(labels.iter().all(|label| LABELS.contains(&label.as_str())), "{name}: {labels:?}");
    }
    assert!(!text.contains('@'), "an address in\n{text}");
    if have(&["promtool"]) {
        succeeded(Command::new("promtool").args(["check", "metrics"]), text.as_bytes());
    }
}

#[test]
fn every_reason_of_a_refusal_is_documented() {
    let documented: BTreeSet<String> =
        rows("monitoring.md", "Reasons").iter().flat_map(|row| quoted(&row[0])).collect();
    let source = include_str!("../../src/smtp/refusal_reason.rs").split("#[cfg(test)]").next().unwrap();
    let words = source.split("=> \"").skip(1).chain(source.split("&str = \"").skip(1));
    let mut used: BTreeSet<String> = words.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    // Of pickup folders.
    used.insert("file".to_owned());
    assert_eq!(used, documented);
}
