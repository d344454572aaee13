//! The pages for users: what stands in their blocks is true. Configurations are right, commands are run, and so are the
//! programs that send mail.
//!
//! A page begins with the least that works: its first TOML block is the configuration that its commands and programs run with.
//! ` ```sh ` blocks are run; ` ```console ` blocks, which need root or other people's programs, are only read. `ID` in a
//! command is the id of a message in the queue.

mod commands;
mod configurations;
mod events;
mod programs;

use crate::support::free_address;
use crate::support::proxy::{Launch, Proxy};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, value};

/// A page.
pub struct Page {
    /// From the root of the repository.
    pub name: String,
    pub text: String,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block<'a> {
    /// `sh`, `toml`, `php`, …; or nothing.
    pub language: &'a str,
    pub text: String,
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|one| one == extension) {
            found.push(path);
        }
    }
}

/// The files with that extension below that folder, in order, from the root.
pub fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root().join(folder), extension, &mut found);
    let names = found.iter().map(|path| path.strip_prefix(root()).expect("below it").display().to_string());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

impl Page {
    /// Reads it.
    pub fn read(name: &str) -> Page {
        let text =
            std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Page { name: name.to_owned(), text }
    }

    /// Those that begin with the least that works.
    pub fn with_a_beginning() -> Vec<Page> {
        let mut names = files("docs/apps", "md");
        names.extend(files("docs/migration", "md"));
        names.push("docs/operating.md".to_owned());
        names.iter().map(|name| Page::read(name)).collect()
    }

    /// Its fenced blocks.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let text: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
                blocks.push(Block { language, text: text.join("\n") + "\n" });
            }
        }
        blocks
    }

    /// The blocks in that language.
    pub fn blocks_in(&self, language: &str) -> Vec<String> {
        self.blocks().into_iter().filter(|block| block.language == language).map(|block| block.text).collect()
    }

    /// The first TOML block.
    #[track_caller]
    pub fn beginning(&self) -> String {
        self.blocks_in("toml")
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("{} has no configuration", self.name))
    }

    /// A proxy with its first configuration, as far as that can be on one machine and without accounts: the upstreams are
    /// that server in clear text, the first listener has a port of its own.
    #[track_caller]
    pub fn proxy(&self, upstream: SocketAddr, launch: Launch) -> Proxy {
        let mut document: DocumentMut = self.beginning().parse().expect("TOML");
        document.remove("data_dir");
        let mut address = "@LISTEN@".to_owned();
        for (_, listener) in tables(&mut document, "listener") {
            listener["address"] = value(std::mem::replace(&mut address, free_address().to_string()));
        }
        for (_, settings) in tables(&mut document, "upstream") {
            settings["host"] = value(upstream.to_string());
            settings["tls"] = value("none");
            let table = settings.as_table_like_mut().expect("a table");
            for key in ["auth", "username", "password_file", "sender"] {
                table.remove(key);
            }
        }
        Proxy::start_with(&document.to_string(), launch)
    }
}

/// The tables of that kind, by name.
fn tables<'a>(document: &'a mut DocumentMut, kind: &str) -> Vec<(String, &'a mut Item)> {
    let table = document.get_mut(kind).and_then(Item::as_table_like_mut);
    let entries = table.into_iter().flat_map(|table| table.iter_mut());
    entries.map(|(name, item)| (name.get().to_owned(), item)).collect()
}

/// Makes the files that `*_file` keys of the configuration name, with a secret in each, beside it.
pub fn make_secrets(config: &str, folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for line in config.lines() {
        let Some((key, file)) = line.split_once(" = \"") else { continue };
        if key.ends_with("_file") {
            let path = folder.join(file.split('"').next().expect("a first part"));
            std::fs::write(&path, "not-a-secret\n").expect("a folder of our own");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our own file");
        }
    }
}
