//! A change of several keys is made whole or not at all: it is what each key by itself would come to, or an error that names
//! every key that is wrong.

use super::Desk;
use postroom::config::{Change, ChangeError, NewValues, propose};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Keys, each with a value that it may have and one that it may not.
fn keys() -> [(&'static str, Value, Value); 7] {
    [
        ("/sending/enabled", json!(false), json!("no")),
        ("/debug/enabled", json!(true), json!(1)),
        ("/debug/failure_rate", json!(0.5), json!(7)),
        ("/queue/archive_days", json!(3), json!(-1)),
        ("/simulate/enabled", json!(true), json!([])),
        ("/site/x/debug/enabled", json!(true), json!("on")),
        ("/site/x/sending/enabled", json!(false), json!(2)),
    ]
}

/// The body of a PATCH with these values.
fn body(values: &[(&str, Value)]) -> NewValues {
    let mut root = json!({});
    for (path, value) in values {
        let mut at = &mut root;
        for part in path.split('/').skip(1) {
            at = &mut at[part];
        }
        *at = value.clone();
    }
    root.as_object().cloned().unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn several_keys_are_changed_whole_or_not_at_all(
        choices in prop::array::uniform7(prop::option::weighted(0.6, prop::bool::weighted(0.75))),
    ) {
        let desk = Desk::with("[site.x]\nsenders = [\"@x.test\"]\n");
        let chosen: Vec<_> = keys().into_iter().zip(choices).filter_map(|(key, choice)| Some((key, choice?))).collect();
        let values: Vec<_> = chosen
            .iter()
            .map(|((path, right, wrong), is_right)| (*path, if *is_right { right.clone() } else { wrong.clone() }))
            .collect();
        let before = desk.loaded().in_force.to_json();
        match propose(&desk.sources, &Change::Settings(body(&values))) {
            Ok(proposal) => {
                prop_assert!(chosen.iter().all(|(_, is_right)| *is_right), "{:?}", values);
                let in_force = proposal.loaded.in_force.to_json();
                for (path, value) in &values {
                    prop_assert_eq!(in_force.pointer(path), Some(value), "{}", path);
                }
                prop_assert_eq!(proposal.changed.len(), values.len());
            }
            Err(ChangeError::Wrong(errors)) => {
                for ((path, ..), is_right) in &chosen {
                    let key = path.trim_start_matches('/').replace('/', ".");
                    let is_named = errors.errors.iter().any(|error| error.key == key);
                    prop_assert_eq!(is_named, !is_right, "{} in {}", key, errors);
                }
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
        prop_assert_eq!(desk.loaded().in_force.to_json(), before, "nothing is in force before it is stored");
    }
}
