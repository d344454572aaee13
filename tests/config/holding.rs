//! Which changes hold when the file is another one: it may say the same by name, be right by itself and wrong with them, or lie
//! elsewhere.

use super::Desk;
use postroom::config::{Change, ChangeError, NewValues, Proposal, propose};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

const ADMIN: &str = "var/admin.toml";
const A: &str = "[upstream.a]\nhost = \"127.0.0.1:9\"\n";

fn keys(values: Value) -> NewValues {
    let Value::Object(keys) = values else { panic!("{values}") };
    keys
}

fn edit(name: &str, values: Value) -> Change {
    Change::EditUpstream { name: name.to_owned(), keys: keys(values) }
}

fn add(name: &str, values: Value) -> Change {
    Change::AddUpstream { name: name.to_owned(), keys: keys(values) }
}

fn reset(key: &str) -> Change {
    Change::Reset { keys: vec![key.to_owned()], confirmed: false }
}

/// As the server does it.
#[track_caller]
fn click(desk: &Desk, change: &Change) -> Proposal {
    let proposal = propose(&desk.sources, change).unwrap_or_else(|error| panic!("{change:?}: {error}"));
    desk.write(ADMIN, proposal.loaded.admin.text.expose_secret());
    proposal
}

#[track_caller]
fn dropped(desk: &Desk) -> Vec<String> {
    desk.loaded().dropped.into_iter().map(|one| one.key).collect()
}

#[test]
fn what_the_file_names_outvotes_a_click_also_where_it_held_without_being_named() {
    let file = format!(
        "{A}[upstream.second]\nhost = \"127.0.0.1:10\"\n[redirect]\nenabled = true\n\
         report_emails = [\"qa@a.test\"]\n[site.intranet]\n"
    );
    let desk = Desk::with(&file);
    click(
        &desk,
        &Change::Settings(keys(json!({ "site": { "intranet": { "redirect": { "enabled": false } } } }))),
    );
    click(&desk, &edit("second", json!({ "enabled": false })));
    let is_redirected =
        |desk: &Desk| desk.loaded().settings.handling_of("intranet").is_some_and(|all| all.redirect.enabled);
    assert_eq!((dropped(&desk).len(), is_redirected(&desk)), (0, false));
    let named = file.replace("127.0.0.1:10\"\n", "127.0.0.1:10\"\nenabled = true\n")
        + "[site.intranet.redirect]\nenabled = true\n";
    desk.write("postroom.toml", &named);
    assert_eq!(dropped(&desk), ["site.intranet.redirect.enabled", "upstream.second.enabled"]);
    assert_eq!((is_redirected(&desk), desk.upstream("second").enabled), (true, true));
}

#[test]
fn a_click_holds_for_the_file_that_it_was_made_with_and_no_other() {
    let file = format!("{A}enabled = false\n");
    let (mut here, there) = (Desk::with(&file), Desk::with(&file));
    click(&here, &edit("a", json!({ "enabled": true })));
    there.write(ADMIN, &std::fs::read_to_string(here.path(ADMIN)).unwrap());
    let loaded = there.loaded();
    assert!(!there.upstream("a").enabled, "the copy outvotes nobody's file");
    let why = format!("is dropped: it was not made with {}", there.path("postroom.toml").display());
    assert!(matches!(&loaded.dropped[..], [one] if one.text.ends_with(&why)), "{:?}", loaded.dropped);
    // The same file in other words; and as a link that leads elsewhere, as mounted maps are.
    std::fs::create_dir(here.path("sub")).unwrap();
    here.sources.file = Some("./sub/../postroom.toml".into());
    assert!(here.upstream("a").enabled);
    std::fs::rename(here.path("postroom.toml"), here.path("sub/new.toml")).unwrap();
    std::os::unix::fs::symlink("sub/new.toml", here.path("postroom.toml")).unwrap();
    assert!(here.upstream("a").enabled);
}

/// A release in a folder of its own, or a folder that was renamed: mail once reached its addressees then.
#[test]
fn a_redirect_that_was_clicked_holds_wherever_its_file_lies_now() {
    let file = format!("{A}connection_limit = 2\n");
    let mut desk = Desk::with(&file);
    let redirect = json!({ "enabled": true, "report_emails": ["qa@a.test"], "allow": ["@dev.test"] });
    click(&desk, &Change::Settings(keys(json!({ "redirect": redirect }))));
    click(&desk, &edit("a", json!({ "connection_limit": 7 })));
    let limit = |desk: &Desk| desk.upstream("a").connection_limit;
    // The same file by another path.
    std::os::unix::fs::symlink("postroom.toml", desk.path("link.toml")).unwrap();
    desk.sources.file = Some("link.toml".into());
    assert_eq!((dropped(&desk).len(), limit(&desk)), (0, 7));
    // Another file that says the same.
    desk.write("release/postroom.toml", &format!("data_dir = \"../var\"\n{file}"));
    desk.sources.file = Some("release/postroom.toml".into());
    let loaded = desk.loaded();
    let redirect = &loaded.settings.handling.redirect;
    assert!(redirect.enabled && redirect.allow.is_empty(), "{redirect:?}");
    assert_eq!(redirect.enabled_addresses().count(), 1);
    assert_eq!(
        (dropped(&desk), limit(&desk)),
        (vec!["redirect.allow".into(), "upstream.a.connection_limit".into()], 2)
    );
    let is_told = |line: &String| line.contains("redirect.enabled = true was not made with");
    assert!(loaded.warnings.iter().any(is_told), "{:?}", loaded.warnings);
    // One that says something else outvotes it.
    desk.write(
        "release/postroom.toml",
        &format!("data_dir = \"../var\"\n{file}[redirect]\nenabled = false\n"),
    );
    assert!(!desk.loaded().settings.handling.redirect.enabled);
}

/// Mail would reach its addressees otherwise.
#[test]
fn what_says_where_mail_goes_is_kept_also_where_the_file_is_wrong_with_it() {
    let file = format!("{A}[redirect]\nreport_emails = [\"qa@a.test\"]\n");
    let desk = Desk::with(&file);
    let modes = json!({ "redirect": { "enabled": true, "report_emails": [] } });
    click(&desk, &Change::Settings(keys(modes)));
    desk.write("postroom.toml", &format!("{file}[queue]\nbounce = \"report\"\n"));
    assert_eq!(desk.error().key, "queue.bounce");
}

#[test]
fn an_old_click_never_makes_a_right_file_wrong() {
    let sites = format!("{A}[site.x]\n[site.y]\n");
    let pickup =
        |folder: &str| format!("{A}[upstream.pk]\ndelivery = \"pickup\"\npickup_directory = \"{folder}\"\n");
    let b = format!("{A}[upstream.b]\nhost = \"127.0.0.1:10\"\n");
    for (file, change, later, gone) in [
        (
            sites.clone(),
            add("b1", json!({ "host": "127.0.0.1:10", "sites": ["x"] })),
            sites.replace("[site.x]\n", ""),
            vec!["upstream.b1"],
        ),
        (
            sites.clone(),
            edit("a", json!({ "sites": ["y"], "connection_limit": 3 })),
            sites.replace("[site.y]\n", ""),
            vec!["upstream.a.connection_limit", "upstream.a.sites"],
        ),
        (
            b.clone(),
            edit("a", json!({ "priority": "default" })),
            format!("{b}priority = \"default\"\n"),
            vec!["upstream.a.priority"],
        ),
        (
            pickup("/p"),
            edit("pk", json!({ "delivery": "network", "pickup_directory": "", "host": "127.0.0.1:10" })),
            pickup("/q"),
            vec!["upstream.pk.delivery", "upstream.pk.host", "upstream.pk.pickup_directory"],
        ),
        (
            A.to_owned(),
            add("me", json!({ "host": "127.0.0.1:22028" })),
            format!("{A}[listener.l]\naddress = \"127.0.0.1:22028\"\n"),
            vec!["upstream.me"],
        ),
        (
            format!("{A}auth = \"basic\"\nusername = \"u\"\npassword = \"p\"\n"),
            edit("a", json!({ "host": "127.0.0.1:10", "username": "v", "password": "for-another" })),
            A.replace('9', "11") + "auth = \"basic\"\nusername = \"u\"\npassword = \"p\"\n",
            vec!["upstream.a.host", "upstream.a.password", "upstream.a.username"],
        ),
    ] {
        let desk = Desk::with(&file);
        click(&desk, &Change::Settings(keys(json!({ "sending": { "enabled": false } }))));
        click(&desk, &change);
        assert!(dropped(&desk).is_empty(), "{change:?}");
        desk.write("postroom.toml", &later);
        assert_eq!(dropped(&desk), gone, "{change:?}");
        let held = desk.loaded();
        assert!(held.settings.handling.sending_off, "what is not in the way holds");
        assert!(!held.dropped.iter().any(|one| one.text.contains("for-another")), "{:?}", held.dropped);
        // A verb finds it so, too.
        click(&desk, &Change::Settings(keys(json!({ "debug": { "enabled": true } }))));
        assert!(dropped(&desk).is_empty());
    }
}

#[test]
fn no_change_hides_what_is_wrong_in_the_file() {
    let wrong = format!("{A}connection_limit = -4\n");
    let desk = Desk::with(&wrong);
    let names_it = |text: String| assert!(text.contains("upstream.a.connection_limit: -4 is"), "{text}");
    let change = edit("a", json!({ "connection_limit": 3 }));
    names_it(propose(&desk.sources, &change).unwrap_err().to_string());
    desk.write("postroom.toml", A);
    click(&desk, &edit("a", json!({ "connection_limit": 3, "enabled": false })));
    desk.write("postroom.toml", &wrong);
    names_it(desk.load().unwrap_err().to_string());
    // What the environment says of an upstream that was added is nothing by itself, and no error.
    let desk = Desk::with(A);
    click(&desk, &add("b-1", json!({ "host": "127.0.0.1:10" })));
    let desk = desk.variable("POSTROOM_UPSTREAM__B_1__CONNECTION_LIMIT", "4");
    assert_eq!(desk.upstream("b-1").connection_limit, 4);
}

#[test]
fn an_added_upstream_never_gets_the_mail_of_all_sites_by_a_reset() {
    let desk = Desk::with(&format!("{A}[site.x]\n"));
    click(&desk, &add("b", json!({ "host": "127.0.0.1:10", "sites": ["x"] })));
    for change in [reset("upstream.b.sites"), edit("b", json!({ "sites": Value::Null }))] {
        let error = propose(&desk.sources, &change).unwrap_err();
        assert!(
            matches!(&error, ChangeError::Refused(why) if why.contains("postroom upstream delete b")),
            "{error}"
        );
    }
    click(&desk, &reset("upstream.b"));
    assert_eq!(desk.loaded().settings.upstreams.len(), 1);
}

#[test]
fn others_may_neither_write_admin_toml_nor_read_a_secret_in_it_unnoticed() {
    let desk = Desk::with(&format!("{A}auth = \"basic\"\nusername = \"u\"\npassword = \"p\"\n"));
    click(&desk, &edit("a", json!({ "password": "q" })));
    let rights = |mode| std::fs::set_permissions(desk.path(ADMIN), Permissions::from_mode(mode)).unwrap();
    let warns = || desk.loaded().warnings.iter().any(|one| one.contains("admin.toml: holds a secret"));
    assert!(!warns());
    rights(0o644);
    assert!(warns());
    for mode in [0o620, 0o602] {
        rights(mode);
        let error = desk.error();
        assert!(
            error.wrong.starts_with("others may write it") && error.right.contains("chmod 600"),
            "{error}"
        );
    }
    // It is of no account then, and can be emptied.
    click(&desk, &Change::ResetAll { confirmed: false });
}

#[test]
fn what_was_not_given_is_not_told_as_given() {
    let desk = Desk::with("[upstream.a]\ndelivery = \"pickup\"\npickup_directory = \"/nowhere/at/all\"\n");
    let change = edit("a", json!({ "delivery": "network", "pickup_directory": "", "host": "127.0.0.1:9" }));
    let told: Vec<String> = click(&desk, &change).changed.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"upstream.a.host: not given -> \"127.0.0.1:9\"".to_owned()), "{told:?}");
}

#[test]
fn a_change_is_warned_of_as_check_would_and_of_nothing_else() {
    let desk = Desk::with(&format!("{A}danger_accept_invalid_certificate = true\n"));
    assert!(!desk.loaded().warnings.is_empty());
    assert_eq!(click(&desk, &edit("a", json!({ "connection_limit": 3 }))).warnings, [""; 0]);
    let warnings = click(&desk, &edit("a", json!({ "enabled": false }))).warnings;
    assert!(warnings.iter().any(|one| one.contains("no upstream is enabled")), "{warnings:?}");
}

#[test]
fn a_pickup_folder_is_there_and_apart_from_the_queue() {
    let pickup =
        |folder: &str| format!("[upstream.a]\ndelivery = \"pickup\"\npickup_directory = \"{folder}\"\n");
    for folder in ["var", ".", "var/../var", "/"] {
        let error = Desk::with(&pickup(folder)).error();
        assert!(
            error.key == "upstream.a.pickup_directory" && error.wrong.starts_with("is data_dir"),
            "{error}"
        );
    }
    let desk = Desk::with(&pickup("out"));
    let warnings =
        || desk.loaded().warnings.into_iter().filter(|one| one.contains("out")).collect::<Vec<_>>();
    assert!(matches!(&warnings()[..], [one] if one.contains("there is no folder")), "{:?}", warnings());
    std::fs::create_dir(desk.path("out")).unwrap();
    assert_eq!(warnings(), [""; 0]);
}
