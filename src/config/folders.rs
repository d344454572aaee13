//! Checks of folders that mail goes to or comes from: mail must not go in circles, nor the archive be taken for new mail.

use super::section::{ConfigReader, Section};
use super::settings::{Settings, Upstream};
use std::path::{Path, PathBuf};

/// Adds to the reader's errors and warnings. `upstreams`: the sections of those.
pub(super) fn check(reader: &ConfigReader<'_>, settings: &Settings, upstreams: &[Section<'_>]) {
    let out: Vec<(&Upstream, PathBuf)> = settings
        .upstreams
        .iter()
        .filter_map(|upstream| Some((&**upstream, real(upstream.pickup_directory.as_ref()?))))
        .collect();
    for (upstream, section) in settings.upstreams.iter().zip(upstreams) {
        if let Some(path) = upstream.pickup_directory.as_ref().filter(|_| upstream.enabled) {
            warn_if_missing(reader, &section.path_of("pickup_directory"), path, "mail waits for it");
        }
    }
    let mut before: Vec<(&str, PathBuf)> = Vec::new();
    for (pickup, section) in settings.pickups.iter().zip(reader.root().named("pickup")) {
        if !section.is_sound("directory") {
            continue;
        }
        let folder = real(&pickup.directory);
        let shown = pickup.directory.display();
        let badmail = folder.join(BADMAIL);
        if let Some((upstream, _)) = out.iter().find(|(_, out)| *out == folder || *out == badmail) {
            let wrong =
                format!("{shown} is where upstream {} writes mail to: it would go in circles", upstream.name);
            section.wrong("directory", wrong, "give each a folder of its own");
        }
        if let Some((other, _)) = before.iter().find(|(_, one)| *one == folder || *one == badmail) {
            let wrong = format!("{shown} is the folder of pickup {other}");
            section.wrong("directory", wrong, "give each pickup a folder of its own");
        }
        if folder.starts_with(real(settings.archive())) {
            let wrong = format!("{shown} is in the archive: mail that was sent would be sent again");
            section.wrong("directory", wrong, "give a folder outside data_dir");
        }
        let key = section.path_of("directory");
        warn_if_missing(reader, &key, &pickup.directory, "nothing is taken until there is");
        before.push((&pickup.name, folder));
    }
}

/// Files that cannot be taken are moved to this folder in theirs.
pub(crate) const BADMAIL: &str = "badmail";

/// Where a path leads to, links followed; the path itself where it leads nowhere yet.
fn real(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// It may be mounted later.
fn warn_if_missing(reader: &ConfigReader<'_>, key: &str, path: &Path, then: &str) {
    if !path.is_dir() {
        reader.warn(format!("{key}: there is no folder {} yet: {then}", path.display()));
    }
}
