//! The folders themselves: missing, changed by a reload, in each other's way.

use super::{OFF, events, file, pickup, queued, wait_until_gone};
use crate::deliver::pickup_folder;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn drop_one(folder: &Path, name: &str) {
    std::fs::write(folder.join(name), file(&["ann@b.test"], "\r\nx\r\n")).unwrap();
}

/// The rest works; it is told by a warning, by an event and by `ready`, and used as soon as it is there.
#[test]
fn a_folder_that_is_not_there_keeps_nobody_from_sending() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF));
    proxy.wait_until_said("pickup.web1.directory: there is no folder");
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    let told = eventually("an event", || events(&proxy, "STORAGE").pop());
    assert!(told.contains("cannot be read: No such file") && told.contains("create it"), "{told}");
    assert!(proxy.get("/readyz").unwrap()["pickups"]["web1"].as_str().unwrap().contains("No such file"));
    std::fs::create_dir(&folder).unwrap();
    drop_one(&folder, "a.eml");
    queued(&proxy, 2);
    assert_eq!(proxy.get("/readyz").unwrap()["pickups"], serde_json::json!({}));
    // Taken away and made anew: it is watched again.
    eventually("it to be empty", || pickup_folder::names(&folder).is_empty().then_some(()));
    std::fs::remove_dir(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    drop_one(&folder, "b.eml");
    queued(&proxy, 3);
}

/// Another folder under the same path, which has the same number as file systems give it out again: it is watched like the first.
/// What keeps changing is never taken without being told of.
#[test]
fn a_folder_that_is_made_anew_with_the_same_number_is_watched() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let number = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let first = number(&folder);
    let proxy = Proxy::start(&(pickup("web1", &folder) + OFF));
    drop_one(&folder, "a.eml");
    queued(&proxy, 1);
    wait_until_gone(&folder.join("a.eml"));
    std::fs::remove_dir(&folder).unwrap();
    let troubles = || proxy.get("/readyz").map(|ready| ready["pickups"].to_string());
    eventually("it to be missed", || troubles().filter(|said| said.contains("No such file")));
    // One of many that are made is likely to get the number.
    let new = |count: usize| place.path().join(count.to_string());
    (0..1000).for_each(|count| std::fs::create_dir(new(count)).unwrap());
    let same = (0..1000).map(new).find(|path| number(path) == first);
    println!("the number is {}the same", if same.is_some() { "" } else { "not " });
    std::fs::rename(same.unwrap_or_else(|| new(0)), &folder).unwrap();
    eventually("it to be found", || troubles().filter(|said| said == "{}"));
    let mut touched: Option<Instant> = None;
    eventually("a file that was told of", || {
        if touched.is_none_or(|at| at.elapsed() > Duration::from_secs(2)) {
            drop_one(&folder, "b.eml");
            touched = Some(Instant::now());
        }
        (super::messages(&proxy).len() > 1).then_some(())
    });
}

fn reload(proxy: &Proxy, config: &str) {
    proxy.configure(config);
    proxy.command(&["reload"]);
}

/// Added, moved, given a site, removed.
#[test]
pub fn directory() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let proxy = Proxy::start(OFF);
    for (number, place) in places.iter().enumerate() {
        reload(&proxy, &(pickup("web1", place.path()) + OFF));
        drop_one(place.path(), "a.eml");
        queued(&proxy, number + 1);
        wait_until_gone(&place.path().join("a.eml"));
    }
    drop_one(places[0].path(), "b.eml");
    reload(&proxy, OFF);
    drop_one(places[1].path(), "b.eml");
    // What is not looked at stays: a message by SMTP is the only one that comes.
    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"));
    assert_eq!(queued(&proxy, 3).len(), 3);
    assert!(places.iter().all(|place| place.path().join("b.eml").exists()));
}

#[test]
pub fn site() {
    let place = tempfile::tempdir().unwrap();
    let site = "[site.shop]\n";
    let proxy = Proxy::start(&(pickup("web1", place.path()) + OFF + site));
    reload(&proxy, &(pickup("web1", place.path()) + "site = \"shop\"\n" + OFF + site));
    drop_one(place.path(), "a.eml");
    assert_eq!(queued(&proxy, 1)[0]["site"], "shop");
}

#[test]
pub fn class() {
    let place = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&(pickup("web1", place.path()) + OFF));
    reload(&proxy, &(pickup("web1", place.path()) + "class = \"urgent\"\n" + OFF));
    drop_one(place.path(), "a.eml");
    assert_eq!(queued(&proxy, 1)[0]["class"], "urgent");
}

/// Mail would go in circles, or the archive be sent again: said before it happens, also where a link leads there.
#[test]
fn a_folder_that_is_both_in_and_out_is_a_configuration_error() {
    let place = tempfile::tempdir().unwrap();
    let (folder, link) = (place.path().join("in"), place.path().join("link"));
    std::fs::create_dir_all(folder.join("badmail")).unwrap();
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let out = |path: &Path| pickup_folder::upstream("files", path);
    for (config, words) in [
        (pickup("web1", &folder) + &out(&folder), "upstream files writes mail to"),
        (pickup("web1", &link) + &out(&folder), "upstream files writes mail to"),
        (pickup("web1", &folder) + &out(&link), "upstream files writes mail to"),
        (pickup("web1", &folder) + &out(&folder.join("../in/badmail")), "upstream files writes mail to"),
        (pickup("web1", &folder) + &pickup("web2", &link), "the folder of pickup web1"),
        ("[pickup.web1]\n".to_owned(), "is missing"),
        (pickup("web1", &folder) + "site = \"none\"\n", "there is no site"),
        ("[pickup.web1]\ndirectory = \"data/archive\"\n".to_owned(), "is in the archive"),
    ] {
        let (code, said) = Proxy::spawn(&config).refused();
        assert!(
            code == Some(78) && said.contains("pickup.web") && said.contains(words),
            "{config}: {code:?} {said}"
        );
    }
}
