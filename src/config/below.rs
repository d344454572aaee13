//! What the layers below `admin.toml` say, so that a change is dropped when they say something else than when it was made.
//!
//! A digest tells whether they do. That of a secret is an argon2 hash with a salt of its own: a plain one would give a short
//! password away to whoever reads a copy of the file.

use super::config_file::ConfigFile;
use super::key_path::{KeyPath, find};
use super::password::{self, StoredPassword};
use super::schema::{SECRETS, Schema, Shape};
use super::secret_file;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use figment::value::{Dict, Value};
use std::path::{Component, Path, PathBuf};

/// Between what was said and which installation said so.
const MADE_WITH: &str = " with ";

/// Between the two digests of that.
const OR: &str = " or ";

/// Enough to tell apart what nobody makes up.
const INSTALLATION_BYTES: usize = 12;

/// The layers around `admin.toml`.
pub(super) struct Below<'a> {
    pub(super) schema: &'a Schema,
    pub(super) file: Option<&'a ConfigFile>,
    /// Folder of paths that no file names.
    pub(super) working_dir: &'a Path,
    /// The layers above: they have no say in what was replaced, but a table may stand in them alone.
    pub(super) above: [&'a Dict; 2],
}

/// What is said about a unit, in words that are the same as long as it is the same.
enum Said {
    Plain(String),
    Secret(String),
}

/// What is changed, and dropped, as one: a key with both its forms where it is a secret.
pub(super) fn unit(path: &KeyPath) -> KeyPath {
    match path.last().strip_suffix("_file").filter(|secret| SECRETS.contains(secret)) {
        Some(secret) => path.parent().unwrap_or_default().key(secret),
        None => path.clone(),
    }
}

impl<'a> Below<'a> {
    /// Whether another layer than `admin.toml` has that table.
    pub(super) fn exists(&self, kind: &str, name: &str) -> bool {
        let path = KeyPath::of(&[kind, name]);
        let written = self.file.map(|file| &file.values);
        written.into_iter().chain(self.above).any(|layer| find(layer, &path).is_some())
    }

    /// The file's table of this name, as the environment would have it: `-` and `_` are the same.
    pub(super) fn in_file(&self, kind: &str, name: &str) -> Option<KeyPath> {
        let tables = self.file?.values.get(kind)?.as_dict()?;
        let alike = |other: &&String| other.replace('-', "_") == name.replace('-', "_");
        tables.keys().find(alike).map(|other| KeyPath::of(&[kind, other]))
    }

    /// What the file itself has there.
    pub(super) fn written(&self, path: &KeyPath) -> Option<&'a Value> {
        find(&self.file?.values, path)
    }

    /// What the file has there, or what holds where it says nothing: the default, or the table that this one overrides.
    pub(super) fn value(&self, path: &KeyPath) -> Option<&'a Value> {
        self.written(path).or_else(|| self.unwritten(path))
    }

    fn unwritten(&self, path: &KeyPath) -> Option<&'a Value> {
        let keys: Vec<&str> = path.keys().collect();
        let schema: &'a Schema = self.schema;
        if let [_, _, _, _, ..] = keys[..]
            && let Some(Shape::Overrides(_)) = schema.at(&keys[..3])
        {
            return self.value(&KeyPath::of(&keys[2..]));
        }
        schema.at(&keys).and_then(Shape::default)
    }

    /// Where the file says something of it: `postroom.toml:12`, or the file alone.
    pub(super) fn place(&self, path: &KeyPath) -> String {
        let Some(file) = self.file else { return "the configuration file".to_owned() };
        let shown = file.path.display();
        file.lines.get(path).map_or_else(|| shown.to_string(), |line| format!("{shown}:{line}"))
    }

    /// Of what these layers say, to be stored with a change of that unit.
    ///
    /// # Errors
    /// In words: the system gives no random numbers.
    pub(super) fn digest(&self, unit: &KeyPath) -> Result<String, String> {
        let said = match self.said(unit) {
            Said::Plain(text) => plain(unit, &text),
            Said::Secret(text) => password::hash(&text)?,
        };
        Ok(format!("{said}{MADE_WITH}{}", self.installation().join(OR)))
    }

    /// Why a change that was stored with this digest does not hold any more. `of_anywhere`: in whatever installation it was made.
    pub(super) fn why_other(&self, unit: &KeyPath, digest: &str, of_anywhere: bool) -> Option<String> {
        let said = digest.rsplit_once(MADE_WITH).map_or(digest, |(said, _)| said);
        if !of_anywhere && !self.is_of_here(digest) {
            return Some(format!("it {}", self.made_elsewhere()));
        }
        (!self.is_still(unit, said)).then(|| format!("{} says something else now", self.place(unit)))
    }

    /// Whether a change that was stored with this digest was made in this installation.
    pub(super) fn is_of_here(&self, digest: &str) -> bool {
        let Some((_, made_with)) = digest.rsplit_once(MADE_WITH) else { return false };
        made_with.split(OR).zip(self.installation()).any(|(then, now)| then == now)
    }

    /// In words, of a change that was not.
    pub(super) fn made_elsewhere(&self) -> String {
        match self.file {
            Some(file) => format!("was not made with {}", file.path.display()),
            None => format!("was not made in {} without a file", self.working_dir.display()),
        }
    }

    /// Tells installations apart: a digest of the path of the configuration file, or of the working folder where there is none, as it
    /// is given, and one of where it leads. Either suffices: a release or a mounted map may change where a link leads, and the same file
    /// may be given by another path. Not of the machine: the name of a container is another one at each start.
    fn installation(&self) -> [String; 2] {
        let (kind, path) = match self.file {
            Some(file) => ("file", file.path.as_path()),
            None => ("folder", self.working_dir),
        };
        let given = without_dots(path);
        let real = path.canonicalize().unwrap_or_else(|_| given.clone());
        [given, real].map(|place| {
            let place = format!("{kind} {}", place.display());
            BASE64.encode(&digest::digest(&digest::SHA256, place.as_bytes()).as_ref()[..INSTALLATION_BYTES])
        })
    }

    fn is_still(&self, unit: &KeyPath, digest: &str) -> bool {
        match self.said(unit) {
            Said::Plain(text) => plain(unit, &text) == digest,
            Said::Secret(text) => {
                let stored = StoredPassword::Hash(digest.to_owned().into());
                digest.starts_with('$') && StoredPassword::verify_hash(Some(&stored), None, &text.into())
            }
        }
    }

    fn said(&self, unit: &KeyPath) -> Said {
        let keys: Vec<&str> = unit.keys().collect();
        if let ["upstream", name] = keys[..] {
            let there = if self.in_file("upstream", name).is_some() { "there" } else { "not there" };
            return Said::Plain(there.to_owned());
        }
        if !SECRETS.contains(&unit.last()) {
            // What the file names it decides, also where it names what would hold without.
            let named = if self.written(unit).is_some() { "named" } else { "not named" };
            return Said::Plain(format!("{named} {}", as_json(self.value(unit))));
        }
        let given = |path: &KeyPath| self.written(path).filter(|value| value.as_str() != Some(""));
        let file_key = unit.parent().unwrap_or_default().key(&format!("{}_file", unit.last()));
        match (given(unit), given(&file_key)) {
            (None, None) => Said::Plain("none".to_owned()),
            (plain, named) => {
                let folder = self.file.and_then(|file| file.path.parent()).unwrap_or(self.working_dir);
                let content = named.and_then(Value::as_str).map(|path| secret_file::read(&folder.join(path)));
                let content = content.and_then(Result::ok);
                Said::Secret(format!("{} {} {content:?}", as_json(plain), as_json(named)))
            }
        }
    }
}

/// The same path, however it was written. Links are not followed.
pub(super) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Whatever types of numbers they are held in.
pub(super) fn is_same(one: Option<&Value>, other: Option<&Value>) -> bool {
    as_json(one) == as_json(other)
}

fn as_json(value: Option<&Value>) -> String {
    serde_json::to_string(&value).unwrap_or_default()
}

fn plain(unit: &KeyPath, text: &str) -> String {
    let text = format!("{unit}\0{text}");
    format!("sha256:{}", BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes())))
}
