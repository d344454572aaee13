//! Files that cannot be taken go to `badmail/` in their folder, each with a file beside it that says why.

use crate::config::BADMAIL;
use crate::unix::folder::Folder;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};

/// Names that are tried where something of the same name lies there already.
const TRIES: u32 = 10_000;

/// Moves it there. What is moved is what has that name now, whatever it is: a link is not followed.
pub(super) fn set_aside(folder: &Folder, name: &OsStr, why: &str) -> io::Result<()> {
    let bad = folder.folder(BADMAIL)?;
    for number in 0..TRIES {
        let free = numbered(name, number);
        if bad.facts(&free).is_ok() {
            continue;
        }
        // The reason first: should the process die in between, the file is moved the next time, to another name.
        let reason = with_suffix(&free, ".txt");
        match bad.create(&reason) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            created => created?.write_all(format!("{why}\n").as_bytes())?,
        }
        return folder.move_to(name, &bad, &free).inspect_err(|_| drop(bad.remove(&reason)));
    }
    Err(io::Error::other(format!("{BADMAIL} is full of files of this name")))
}

fn numbered(name: &OsStr, number: u32) -> OsString {
    match number {
        0 => name.to_owned(),
        number => with_suffix(name, &format!(".{number}")),
    }
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut whole = name.to_owned();
    whole.push(suffix);
    whole
}
