//! Programs of other people's that tests run: whether they are there, and compiling what has to be compiled.
//!
//! `./scripts/setup` installs them. Where one cannot be had, the tests that need it say `NOT PROVED HERE`; where `CI` is
//! set they fail, so that a build server does not pass them over in silence for ever.

use super::clients::succeeded;
use super::not_proved_here;
use std::fs::File;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether all of these are there: programs by name, files by their absolute path. Where one is not, says so as
/// [`missing`] does.
#[track_caller]
pub fn have(wanted: &[&str]) -> bool {
    match wanted.iter().find(|wanted| !is_there(wanted)) {
        Some(absent) => {
            missing(&format!("{absent} is not there; ./scripts/setup installs it"));
            false
        }
        None => true,
    }
}

/// Says that the calling test proves nothing here, and why. Panics where `CI` is set.
#[track_caller]
pub fn missing(why: &str) {
    let caller = Location::caller();
    let test = format!("{}:{}", caller.file(), caller.line());
    assert!(std::env::var_os("CI").is_none(), "{test}: {why} (CI is set, so that this is no excuse)");
    not_proved_here(&test, why);
}

fn is_there(wanted: &str) -> bool {
    if Path::new(wanted).is_absolute() {
        return Path::new(wanted).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    folders.iter().any(|folder| folder.join(wanted).is_file())
}

/// A source file of tests/clients.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A folder below target/ that outlives the test, for what `./scripts/setup` unpacks and what tests compile.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/foreign")
}

/// What a compiler makes of a source file of tests/clients: `compile` is given the source and the path to make. It is
/// done once for each state of the source, whatever number of tests ask at the same time from processes of their own.
#[track_caller]
pub fn compiled(name: &str, compile: impl FnOnce(&Path, &Path) -> Command) -> PathBuf {
    let source = source(name);
    let text = std::fs::read(&source).expect("a source file of tests/clients");
    let product = folder().join(format!("{name}-{:016x}", xxhash_rust::xxh3::xxh3_64(&text)));
    std::fs::create_dir_all(folder()).expect("target/ can be written");
    let lock = File::create(folder().join(format!("{name}.lock"))).expect("target/ can be written");
    lock.lock().expect("target/ is on a file system that has locks");
    if !product.exists() {
        // Under another name first: a compiler that is interrupted leaves nothing that looks whole.
        let unfinished = folder().join(format!("{name}.unfinished"));
        let _ = std::fs::remove_dir_all(&unfinished);
        succeeded(&mut compile(&source, &unfinished), b"");
        std::fs::rename(&unfinished, &product).expect("what the compiler has made");
    }
    product
}
