//! `/configuration`.

use super::reader::Reader;
use crate::admin::{Admin, PASSWORD};
use std::fmt::Write;

const OFF: &str = "[sending]\nenabled = false\n";

#[test]
fn everything_in_force_is_shown_with_its_source_and_no_secret() {
    let config = format!(
        "{OFF}[upstream.a]\nhost = \"127.0.0.1:25\"\nusername = \"me\"\npassword = \"very-secret-word\"\n\
         danger_allow_plaintext_auth = true\n"
    );
    let reader = Reader::start_in(&[("POSTROOM_DEBUG__SEED", "7")], &config);
    let page = reader.page("/configuration");
    let file = reader.admin.proxy.config_file().display().to_string();
    for expected in [
        &*file,
        &reader.admin.proxy.data_dir().display().to_string(),
        "[upstream.a]",
        "••••••••",
        "POSTROOM_DEBUG__SEED",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    for secret in ["very-secret-word", PASSWORD, "****"] {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    let filtered = reader.page("/configuration?q=UPSTREAM+password");
    assert!(
        filtered.contains("<th scope=\"row\">password</th>") && !filtered.contains("[debug]"),
        "{filtered}"
    );
    assert!(reader.page("/configuration?q=nothing%3Cb%3E").contains("No key is like that."));
}

#[test]
fn what_was_changed_is_marked_and_can_be_taken_back() {
    let reader = Reader::start(OFF);
    let none = reader.page("/configuration?changed=yes");
    assert!(none.contains("No key is like that.") && !none.contains("Take all changes back"), "{none}");
    reader.act("/settings", "debug.seed=3&debug.failure_rate=0.5");
    let page = reader.page("/configuration?changed=yes");
    assert!(page.contains("2 by verbs or pages") && page.contains("the default is 0.01"), "{page}");
    assert!(page.contains("name=\"key\" value=\"debug.seed\""), "{page}");
    let back = reader.act("/configuration/reset", "key=debug.seed");
    assert!(
        back.contains("debug.seed is as it is configured.") && back.contains("debug.seed: 3 → 0"),
        "{back}"
    );
    let asked = reader.send("/configuration/reset", "all=yes").text();
    assert!(asked.contains("Take it back?") && asked.contains("name=\"all\" value=\"yes\""), "{asked}");
    let back = reader.act("/configuration/reset", "all=yes&confirm=yes");
    assert!(back.contains("nothing by verbs or pages"), "{back}");
    assert!(
        reader
            .act("/configuration/reset", "key=debug.seed&back=//evil.test/")
            .contains("<h1>Configuration</h1>")
    );
}

#[test]
fn the_file_is_loaded_again_or_every_error_told() {
    let reader = Reader::start(OFF);
    reader.is_guarded("/configuration/reload");
    let path = reader.admin.proxy.config_file();
    let sound = std::fs::read_to_string(&path).unwrap();
    assert!(reader.act("/configuration/reload", "").contains("nothing has changed"));
    std::fs::write(&path, format!("{sound}\n[debug]\nfailure_rate = 3\nseed = -1\n")).unwrap();
    let wrong = reader.act("/configuration/reload", "");
    assert!(wrong.contains("3 is no share") && wrong.contains("debug.seed"), "{wrong}");
    std::fs::write(&path, format!("{sound}\n[debug]\nseed = 5\n")).unwrap();
    let loaded = reader.act("/configuration/reload", "");
    assert!(loaded.contains("is loaded and in force") && loaded.contains("debug"), "{loaded}");
}

#[test]
fn a_hundred_upstreams_fit_on_pages() {
    let mut config = OFF.to_owned();
    for number in 0..100 {
        write!(config, "[upstream.server-{number}]\nhost = \"127.0.0.1:25\"\n").unwrap();
    }
    let reader = Reader::start(&config);
    let (mut path, mut seen) = ("/configuration".to_owned(), 0);
    loop {
        let page = reader.page(&path);
        seen += page.matches("<caption>[upstream.server-").count();
        let Some((before, _)) = page.split_once("\">Next</a>") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    }
    assert!(seen >= 100, "{seen}");
}

#[test]
fn who_may_not_configure_gets_no_form_that_is_refused() {
    let admin = Admin::start("");
    let page = super::page(&admin, "/configuration", &[]);
    assert!(page.contains("postroom hash") && !page.contains("<form method=\"post\""), "{page}");
    assert_eq!(admin.form("/configuration/reload", &[], "").status, 403);
}
