//! The dashboard and the alerts against a real Prometheus that scrapes the running binary.

use super::stage::{Busy, TOKEN};
use crate::support::clients::succeeded;
use crate::support::foreign::have;
use crate::support::{eventually, free_address, spawn};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(path)
}

/// A Prometheus of its own, ended by its process id when it is dropped.
struct Prometheus {
    address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// It answers 503 while it reads its own files.
fn is_ready(address: SocketAddr) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "300", "--output", "/dev/null"]);
    curl.arg(format!("http://{address}/-/ready")).status().is_ok_and(|status| status.success())
}

impl Prometheus {
    /// As conf/prometheus/scrape.yaml has it, of that address, each second, with that token.
    fn start(target: SocketAddr, token: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("postroom.token"), token).unwrap();
        std::fs::copy(shipped("prometheus/alerts.yaml"), place("alerts.yaml")).unwrap();
        let scrape = std::fs::read_to_string(shipped("prometheus/scrape.yaml")).unwrap();
        let changes = [
            ("/etc/prometheus/postroom.token", place("postroom.token").display().to_string()),
            ("127.0.0.1:8025", target.to_string()),
            ("_interval: 30s", "_interval: 1s".to_owned()),
        ];
        let config = changes.iter().fold(scrape, |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let file = place("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        for _ in 0..5 {
            let address = free_address();
            let mut command = Command::new("prometheus");
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
            command.arg(format!("--web.listen-address={address}"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = spawn(&mut command);
            let is_up = eventually("Prometheus to listen", || match process.try_wait().unwrap() {
                // Somebody else took the port.
                Some(_) => Some(false),
                None => is_ready(address).then_some(true),
            });
            if is_up {
                return Prometheus { address, process, _folder: folder };
            }
        }
        panic!("Prometheus does not start");
    }

    /// The `data` of what its API answers.
    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "300", "--get"]);
        for (name, value) in parameters {
            curl.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = succeeded(curl.arg(format!("http://{}/api/v1/{path}", self.address)), b"");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["status"], "success", "{path} {parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The values that a query has now; none of them NaN.
    fn values(&self, query: &str) -> Vec<f64> {
        let data = self.api("query", &[("query", query)]);
        let result = data["result"].as_array().unwrap_or_else(|| panic!("{query}: {data}"));
        let value = |one: &Value| one["value"][1].as_str()?.parse::<f64>().ok();
        result.iter().filter_map(value).filter(|value| !value.is_nan()).collect()
    }
}

/// What the panels and annotations ask.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_slice(&std::fs::read(shipped("grafana/postroom.json")).unwrap()).unwrap();
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    queries
}

fn collect(value: &Value, queries: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            queries.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, queries));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
        _ => {}
    }
}

/// As Grafana puts its variables in.
fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "10m").replace("$__interval", "10m");
    let query = query.replace("$job", "postroom").replace("$instance", ".*");
    assert!(!query.contains('$'), "a variable that the dashboard does not have: {query}");
    query
}

/// The selectors of series in a query, with their labels.
fn selectors(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for prefix in ["postroom_", "process_", "up{"] {
        for (at, _) in query.match_indices(prefix) {
            if query[..at].ends_with(is_name) {
                continue;
            }
            let name_end = query[at..].find(|c| !is_name(c)).map_or(query.len(), |end| at + end);
            let labels_end = match query[name_end..].starts_with('{') {
                true => name_end + query[name_end..].find('}').unwrap() + 1,
                false => name_end,
            };
            found.insert(query[at..labels_end].to_owned());
        }
    }
    found
}

#[test]
fn every_query_of_dashboard_and_alerts_has_data() {
    if !have(&["prometheus", "curl"]) {
        return;
    }
    let busy = Busy::start();
    let prometheus = Prometheus::start(busy.admin, TOKEN);
    eventually("two scrapes", || prometheus.values("count_over_time(up[10m]) >= 2 and up == 1").pop());
    // Rates need something that happens while they are looked at.
    busy.send_all();
    let queries: Vec<String> = dashboard_queries().iter().map(|query| filled_in(query)).collect();
    assert!(queries.len() > 40, "{queries:#?}");
    for query in &queries {
        // Restarts: there was none, but what it asks of is there.
        let query = query.strip_suffix(" > 0").unwrap_or(query);
        eventually(&format!("data for {query}"), || {
            let values = prometheus.values(query);
            (!values.is_empty()).then_some(())
        });
    }
    for name in ["job", "instance"] {
        let values = prometheus.api(&format!("label/{name}/values"), &[("match[]", "postroom_build_info")]);
        assert_eq!(values.as_array().unwrap().len(), 1, "{name}");
    }

    let rules = eventually("all rules to be evaluated", || {
        let data = prometheus.api("rules", &[]);
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() > 20);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for selector in selectors(rule["query"].as_str().unwrap()) {
            assert!(
                !prometheus.values(&selector).is_empty(),
                "{}: nothing is there of {selector}",
                rule["name"]
            );
        }
    }
    // What is wrong with this proxy is noticed, and nothing else: each waits for its time. The disk is everybody's.
    eventually("the alerts", || {
        let alerts = prometheus.api("alerts", &[]);
        let names = alerts["alerts"].as_array()?.iter().filter_map(|one| one["labels"]["alertname"].as_str());
        let names: BTreeSet<&str> = names.filter(|name| !name.starts_with("PostroomDisk")).collect();
        (names == BTreeSet::from(["PostroomModeOn", "PostroomUpstreamDown", "PostroomWebhookFails"]))
            .then_some(())
    });
}
