//! An old click, a copied folder, an edited file: in whatever order they come, a change of a verb holds exactly as long as the
//! file of that path says what it said when the change was made.

use super::Desk;
use postroom::config::{Change, ChangeError, NewValues, propose};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Keys that are clicked at, with where they are read in what is in force.
const KEYS: [&str; 6] = [
    "sending.enabled",
    "debug.enabled",
    "queue.archive_days",
    "upstream.a.enabled",
    "upstream.a.connection_limit",
    "site.x.debug.enabled",
];

/// Two installations, whose folders are copied to and fro.
const INSTALLATIONS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// The owner of a file gives a key one of its values, or takes it out.
    Edit(usize, usize, Option<u8>),
    /// The owner takes a table with all its keys out of the file, or puts it in: upstream a, upstream n, site x.
    Table(usize, usize, bool),
    Click(usize, usize, u8),
    TakeBack(usize, usize),
    /// Upstream n is added.
    Add(usize),
    ResetAll(usize),
    /// From the one to the other.
    Copy(usize),
    /// A start or a reload.
    Load(usize),
}

const TABLES: [&str; 3] = ["upstream.a", "upstream.n", "site.x"];

fn step() -> impl Strategy<Value = Step> {
    let (at, key, value) = (0..INSTALLATIONS, 0..KEYS.len(), 0..3_u8);
    prop_oneof![
        4 => (at.clone(), key.clone(), prop::option::of(value.clone())).prop_map(|(at, key, value)| Step::Edit(at, key, value)),
        2 => (at.clone(), 0..TABLES.len(), any::<bool>()).prop_map(|(at, table, on)| Step::Table(at, table, on)),
        6 => (at.clone(), key.clone(), value).prop_map(|(at, key, value)| Step::Click(at, key, value)),
        2 => (at.clone(), key).prop_map(|(at, key)| Step::TakeBack(at, key)),
        1 => at.clone().prop_map(Step::Add),
        1 => at.clone().prop_map(Step::ResetAll),
        2 => at.clone().prop_map(Step::Copy),
        4 => at.prop_map(Step::Load),
    ]
}

/// A value of that key.
fn value(key: &str, number: u8) -> Value {
    match key {
        "queue.archive_days" => json!(number),
        "upstream.a.connection_limit" => json!(number + 1),
        _ => json!(number == 0),
    }
}

fn default(key: &str) -> Value {
    match key {
        "sending.enabled" | "upstream.a.enabled" => json!(true),
        "queue.archive_days" => json!(0),
        "upstream.a.connection_limit" => json!(2),
        _ => json!(false),
    }
}

/// Whether a file names a key, and what holds by it.
type InFile = (bool, Value);

/// What is said of an installation, in words of the test.
#[derive(Clone, Default, Debug)]
struct Said {
    file: BTreeMap<&'static str, Value>,
    /// Of [`TABLES`].
    tables: [bool; 3],
    /// New value, what the file said when it was given, and where that was.
    clicks: BTreeMap<&'static str, (Value, InFile, usize)>,
    /// Where that was.
    added_at: Option<usize>,
    /// Where it is.
    at: usize,
}

/// Without it mail could reach its addressees.
fn keeps_mail_back(key: &str, value: &Value) -> bool {
    match key {
        "sending.enabled" => value == &json!(false),
        key => key.ends_with("debug.enabled") && value == &json!(true),
    }
}

impl Said {
    fn has_table_of(&self, key: &str) -> bool {
        match key {
            key if key.starts_with("upstream.a") => self.tables[0],
            key if key.starts_with("site.x") => self.tables[2],
            _ => true,
        }
    }

    /// What holds by the file alone: of a site, what holds for all mail where it says nothing.
    fn by_file(&self, key: &str) -> Value {
        let outside =
            if key == "site.x.debug.enabled" { self.by_file("debug.enabled") } else { default(key) };
        self.file.get(key).filter(|_| self.has_table_of(key)).cloned().unwrap_or(outside)
    }

    fn in_file(&self, key: &str) -> InFile {
        (self.has_table_of(key) && self.file.contains_key(key), self.by_file(key))
    }

    /// A start, a reload or a verb looks at the file.
    fn look(&mut self) {
        let mut clicks = std::mem::take(&mut self.clicks);
        // What was clicked elsewhere holds nowhere else, unless it keeps mail back.
        clicks.retain(|key, (value, replaced, at)| {
            self.has_table_of(key)
                && *replaced == self.in_file(key)
                && (*at == self.at || keeps_mail_back(key, value))
        });
        self.clicks = clicks;
        self.added_at = self.added_at.filter(|at| *at == self.at && !self.tables[1]);
    }

    fn click(&mut self, key: &'static str, new: Value) {
        let says_so = match key {
            "site.x.debug.enabled" => self.file.get(key) == Some(&new),
            key => self.by_file(key) == new,
        };
        match says_so {
            true => drop(self.clicks.remove(key)),
            false => drop(self.clicks.insert(key, (new, self.in_file(key), self.at))),
        }
    }

    fn in_force(&self, key: &str) -> Value {
        match (self.clicks.get(key), key) {
            (Some((new, ..)), _) => new.clone(),
            (None, "site.x.debug.enabled") if !self.file.contains_key(key) => self.in_force("debug.enabled"),
            (None, key) => self.by_file(key),
        }
    }

    fn to_toml(&self) -> String {
        let mut document = toml_edit::DocumentMut::new();
        if self.tables[0] {
            document["upstream"]["a"]["host"] = toml_edit::value("127.0.0.1:9");
        }
        if self.tables[1] {
            document["upstream"]["n"]["host"] = toml_edit::value("127.0.0.1:10");
        }
        if self.tables[2] {
            document["site"]["x"]["global_upstreams"] = toml_edit::value(true);
        }
        for (key, value) in self.file.iter().filter(|(key, _)| self.has_table_of(key)) {
            let mut item = document.as_item_mut();
            for part in key.split('.') {
                item = &mut item[part];
            }
            *item = match value {
                Value::Bool(flag) => toml_edit::value(*flag),
                number => toml_edit::value(number.as_i64().unwrap()),
            };
        }
        document.to_string()
    }
}

/// `{"sending": {"enabled": value}}`, or the keys of the upstream alone.
fn change(key: &str, value: Value) -> Change {
    let (key, upstream) = key.strip_prefix("upstream.a.").map_or((key, false), |key| (key, true));
    let nested = key.rsplit('.').fold(value, |below, part| json!({ part: below }));
    let Value::Object(keys) = nested else { panic!("{nested}") };
    match upstream {
        true => Change::EditUpstream { name: "a".to_owned(), keys },
        false => Change::Settings(keys),
    }
}

struct Installation {
    desk: Desk,
    said: Said,
}

impl Installation {
    fn new(at: usize) -> Installation {
        let said = Said { at, ..Said::default() };
        let installation = Installation { desk: Desk::new(), said };
        std::fs::create_dir(installation.desk.path("var")).unwrap();
        installation
    }

    /// As the server does it.
    fn store(&self, admin: &postroom::config::AdminToml) {
        use secrecy::ExposeSecret;
        std::fs::write(&admin.path, admin.text.expose_secret()).unwrap();
    }

    /// A change that finds its table is carried out.
    fn try_change(&mut self, wanted: &Change, finds_it: bool) {
        self.desk.write("postroom.toml", &self.said.to_toml());
        self.said.look();
        match propose(&self.desk.sources, wanted) {
            Ok(proposal) => {
                assert!(finds_it, "{wanted:?}");
                self.store(&proposal.loaded.admin);
            }
            Err(ChangeError::NotFound(_) | ChangeError::Refused(_)) if !finds_it => {
                // The server would load again before long; so does this one, to be where the model is.
                self.load();
            }
            Err(error) => panic!("{wanted:?}: {error}"),
        }
    }

    fn load(&mut self) {
        self.desk.write("postroom.toml", &self.said.to_toml());
        self.said.look();
        let loaded = self.desk.loaded();
        if !loaded.dropped.is_empty() {
            self.store(&loaded.admin);
        }
        let in_force = loaded.in_force.to_json();
        let settings = &loaded.settings;
        for key in KEYS {
            let found = match key {
                "site.x.debug.enabled" => {
                    settings.handling_of("x").map(|handling| json!(handling.debug.enabled))
                }
                key => in_force.pointer(&format!("/{}", key.replace('.', "/"))).cloned(),
            };
            let expected = self.said.has_table_of(key).then(|| self.said.in_force(key));
            assert_eq!(found, expected, "{key} of {:?}", self.said);
        }
        let has = |name: &str| settings.upstreams.iter().any(|upstream| upstream.name == name);
        assert_eq!(
            (has("a"), has("n")),
            (self.said.tables[0], self.said.tables[1] || self.said.added_at.is_some())
        );
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Edit(_, key, Some(number)) => {
                self.said.file.insert(KEYS[key], value(KEYS[key], number));
            }
            Step::Edit(_, key, None) => drop(self.said.file.remove(KEYS[key])),
            Step::Table(_, table, on) => self.said.tables[table] = on,
            Step::Click(_, key, number) => {
                let (key, new) = (KEYS[key], value(KEYS[key], number));
                let finds_it = self.said.has_table_of(key);
                self.try_change(&change(key, new.clone()), finds_it);
                if finds_it {
                    self.said.click(key, new);
                }
            }
            Step::TakeBack(_, key) => {
                let finds_it = self.said.has_table_of(KEYS[key]);
                self.try_change(&change(KEYS[key], Value::Null), finds_it);
                self.said.clicks.remove(KEYS[key]);
            }
            Step::Add(_) => {
                let host = NewValues::from_iter([("host".to_owned(), json!("127.0.0.1:11"))]);
                self.said.look();
                let is_new = !self.said.tables[1] && self.said.added_at.is_none();
                self.try_change(&Change::AddUpstream { name: "n".to_owned(), keys: host }, is_new);
                self.said.added_at = self.said.added_at.or(is_new.then_some(self.said.at));
            }
            Step::ResetAll(_) => {
                self.try_change(&Change::ResetAll { confirmed: false }, true);
                (self.said.clicks, self.said.added_at) = (BTreeMap::new(), None);
            }
            Step::Load(_) => self.load(),
            Step::Copy(_) => unreachable!("it is about two of them"),
        }
    }
}

fn play(steps: &[Step]) {
    let mut all: Vec<Installation> = (0..INSTALLATIONS).map(Installation::new).collect();
    for step in steps {
        match step {
            Step::Copy(from) => {
                let to = 1 - from;
                let (source, target) =
                    (all[*from].desk.path("var/admin.toml"), all[to].desk.path("var/admin.toml"));
                match source.exists() {
                    true => drop(std::fs::copy(source, target).unwrap()),
                    false => drop(std::fs::remove_file(target)),
                }
                let Said { clicks, added_at, .. } = all[*from].said.clone();
                let said = &mut all[to].said;
                (said.clicks, said.added_at) = (clicks, added_at);
            }
            Step::Edit(at, ..) | Step::Table(at, ..) | Step::Click(at, ..) | Step::TakeBack(at, _) => {
                all[*at].take(step)
            }
            Step::Add(at) | Step::ResetAll(at) | Step::Load(at) => all[*at].take(step),
        }
    }
    all.iter_mut().for_each(Installation::load);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn a_change_holds_as_long_as_the_file_says_what_it_said_then(steps in prop::collection::vec(step(), 1..40)) {
        play(&steps);
    }
}

#[test]
fn a_click_does_not_come_back_when_the_file_does() {
    let (key, on, off) = (1, 0, 1);
    for seen in [true, false] {
        let mut steps =
            vec![Step::Click(0, key, on), Step::Edit(0, key, Some(on)), Step::Edit(0, key, Some(off))];
        if seen {
            steps.insert(2, Step::Load(0));
        }
        play(&steps);
    }
}
