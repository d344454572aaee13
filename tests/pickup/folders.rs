//! The folders themselves: missing, changed by a reload, in each other's way.

use super::{OFF, events, file, pickup, queued, wait_until_gone};
use crate::deliver::pickup_folder;
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use std::path::Path;

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
