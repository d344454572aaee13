//! The document says what the router has, and docs/rules.md names each route.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// By path, the methods that the document says there are.
fn described(proxy: &Proxy) -> (Value, BTreeMap<String, BTreeSet<String>>) {
    let document = get(proxy, "/api/v1/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths").iter();
    let methods = |item: &Value| item.as_object().expect("operations").keys().cloned().collect();
    let paths = paths.map(|(path, item)| (path.clone(), methods(item))).collect();
    (document, paths)
}

#[test]
fn each_route_of_the_router_is_in_the_document_and_the_other_way_round() {
    let proxy = Proxy::start("");
    let (_, paths) = described(&proxy);
    assert!(paths.len() >= 20, "{paths:?}");
    for (path, described) in &paths {
        let path = path.replace("{id}", "01ARZ3NDEKTSV4RRFFQ69G5FAV").replace("{name}", "nobody");
        for method in METHODS {
            let (status, headers, mut rest) = begin(&proxy, &method.to_uppercase(), &path, &[], b"");
            let is_described = described.contains(method);
            assert_eq!(status == 405, !is_described, "{method} {path}: {status}");
            if status == 404 {
                let mut body = String::new();
                rest.read_to_string(&mut body).expect("a text");
                assert!(!body.contains("no such route"), "{method} {path}");
            }
            if status == 405 {
                let allowed = headers["allow"].split(',').map(|method| method.trim().to_lowercase());
                let allowed: BTreeSet<String> = allowed.filter(|method| method != "head").collect();
                assert_eq!(allowed, *described, "{path}");
            }
        }
        let (status, ..) = begin(&proxy, "HEAD", &path, &[], b"");
        assert_eq!(status == 405, !described.contains("get"), "HEAD {path}");
    }
    // A route that is added in another way would stand in no document.
    let source = std::fs::read_to_string("src/admin/mod.rs").expect("the router");
    let (_, of_all) =
        source.split_once("/// All routes, and their document.").expect("the part that has a document");
    assert!(!of_all.contains(".route(") && !of_all.contains(".nest("), "routes are added by `routes!` alone");
}

#[test]
fn the_rules_name_each_route_of_the_document_and_no_other() {
    let proxy = Proxy::start("");
    let described: BTreeSet<String> = described(&proxy)
        .1
        .iter()
        .flat_map(|(path, methods)| {
            methods.iter().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let rules = std::fs::read_to_string("docs/rules.md").expect("the rules");
    let table = rules.split("\n## Routes\n").nth(1).expect("the section");
    let rows =
        table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let mut named = BTreeSet::new();
    for row in rows.skip(2) {
        let (mut method, mut path) = ("", String::new());
        for word in row.split('|').nth(1).expect("a cell").split('`').skip(1).step_by(2) {
            match word.split_once(' ') {
                Some((of, at)) => (method, path) = (of, at.to_owned()),
                None if word.chars().all(char::is_uppercase) => method = word,
                None if word.starts_with('/') => path = word.to_owned(),
                // A sibling: `retry`, `hold`.
                None => path = format!("{}/{word}", path.rsplit_once('/').expect("a path").0),
            }
            // Pages, and over TCP alone.
            if !row.contains("web-admin.md") {
                named.insert(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(named, described);
}

#[test]
fn the_document_is_openapi_3_1_and_says_everything_of_each_operation() {
    let proxy = Proxy::start("");
    let (document, _) = described(&proxy);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
    assert_eq!(schemes.keys().map(String::as_str).collect::<Vec<_>>(), ["session", "token"]);
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let which = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{which}");
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{which}: {}",
                operation["operationId"]
            );
            assert_eq!(
                operation["security"].is_array(),
                !["/livez", "/readyz"].contains(&path.as_str()),
                "{which}"
            );
            for name in path.split('{').skip(1).filter_map(|part| part.split('}').next()) {
                let parameters = operation["parameters"].as_array().expect("parameters");
                let found = parameters.iter().find(|one| one["in"] == "path" && one["name"] == name);
                assert!(
                    found.is_some_and(|one| one["required"] == true && one["example"].is_string()),
                    "{which}"
                );
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{which}: {parameter}");
            }
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{which}");
            for (status, response) in responses {
                assert!(
                    response["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{which} {status}"
                );
                let content = response["content"].as_object();
                match status.as_str() {
                    "202" | "204" => {
                        assert!(content.is_none_or(|content| content.is_empty()), "{which} {status}")
                    }
                    _ if status.starts_with('2') => {
                        assert!(content.is_some_and(|one| !one.is_empty()), "{which}")
                    }
                    _ => {
                        let problem = &response["content"]["application/problem+json"]["schema"]["$ref"];
                        assert_eq!(problem, "#/components/schemas/Problem", "{which} {status}");
                    }
                }
            }
        }
    }
    no_reference_is_dangling(&document, &document);
}

fn no_reference_is_dangling(value: &Value, document: &Value) {
    match value {
        Value::Object(object) => {
            if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                let target = target.strip_prefix('#').expect("a reference within the document");
                assert!(document.pointer(target).is_some(), "{target}");
            }
            object.values().for_each(|value| no_reference_is_dangling(value, document));
        }
        Value::Array(array) => array.iter().for_each(|value| no_reference_is_dangling(value, document)),
        _ => {}
    }
}
