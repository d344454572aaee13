//! A pickup folder that is full or read-only, and SIGKILL at each step of writing a file there.

use super::disk::{SmallDisk, where_mounting_is_allowed};
use super::full::wait_until_empty;
use super::process::{Failing, can_trace};
use crate::deliver::pickup_folder::{files, names, upstream};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;

// CASES E14
#[test]
fn a_full_or_read_only_folder_is_the_upstreams_fault_and_the_next_one_has_the_mail() {
    where_mounting_is_allowed(|| {
        for (full, words, remedy) in [
            (true, "No space left on device", "make room"),
            (false, "Read-only file system", "mount it for writing"),
        ] {
            let (disk, recorder) = (SmallDisk::of(256), Recorder::start());
            match full {
                true => disk.fill_but(8192),
                false => assert!(disk.read_only(true)),
            }
            let keys = "priority = \"high\"\n";
            let config = upstream("files", disk.path()) + keys + &recorder.upstream("server");
            let proxy = Proxy::start(&config);
            assert!(Talk::hello(proxy.address()).mail("b@b.test", 100_000).starts_with("250"));
            recorder.wait(1);
            let standing = proxy.cli(&["upstream", "list", "--json"])[0].clone();
            let error = standing["last_error"].as_str().unwrap();
            assert!(error.contains(words) && error.contains(remedy), "{error}");
            let only_ballast = |names: &[String]| names.iter().all(|name| name == "ballast");
            eventually("the half-written file to go", || only_ballast(&names(disk.path())).then_some(()));

            proxy.configure(&upstream("files", disk.path()));
            proxy.command(&["reload"]);
            assert!(Talk::hello(proxy.address()).mail("c@b.test", 100_000).starts_with("250"));
            match full {
                true => disk.empty(),
                false => assert!(disk.read_only(false)),
            }
            files(disk.path(), 1);
            wait_until_empty(&proxy);
        }
    });
}

/// Killed before the file has its name, nothing of it is there; killed after that, the repeated attempt writes the same file
/// again. Either way one file, and nothing beside it.
// CASES E15
#[test]
fn killed_at_each_step_of_a_file_nothing_is_lost_and_nothing_is_there_twice() {
    if !can_trace("faults::pickup") {
        return;
    }
    for (step, everywhere, call) in [
        ("the folder is opened", false, "openat"),
        ("the temporary file is there, empty", true, "fchmod"),
        ("it is written, not synced", true, "fsync"),
        ("it is synced", false, "renameat"),
        ("it has its name, not synced", false, "fsync"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("pickup");
        let mut proxy = Proxy::start(&upstream("files", &folder));
        // With no folder there it waits.
        assert!(Talk::hello(proxy.address()).mail("b@b.test", 20_000).starts_with("250"));
        let inject = format!("{call}:signal=KILL");
        let tracer = match everywhere {
            true => Failing::everywhere(proxy.pid(), &[&inject]),
            false => Failing::on(proxy.pid(), &folder, &[&inject]),
        };
        std::fs::create_dir(&folder).unwrap();
        proxy.wait();
        drop(tracer);
        let before = names(&folder);
        proxy.start_again();
        let file = files(&folder, 1).remove(0);
        wait_until_empty(&proxy);
        assert_eq!(names(&folder), [file.file_name().unwrap().to_str().unwrap()], "{step}: {before:?}");
        assert!(std::fs::read(&file).unwrap().len() > 20_000, "{step}");
        println!("{step}: {before:?}");
    }
}
