//! `/upstreams`: what is there, and every act.

use super::{csrf_token, page};
use crate::admin::{Admin, Answer, PASSWORD, TOKEN, config, with_password};
use crate::support::free_address;
use crate::support::proxy::Proxy;
use serde_json::Value;

const SECRET: &str = "hush-hush-hush/99";

/// Two upstreams in the file; the second is the one with a password.
fn upstreams() -> String {
    format!(
        "[upstream.main]\nhost = \"127.0.0.1:9\"\ntls = \"none\"\nconnection_limit = 3\n\
         [upstream.backup]\nhost = \"127.0.0.1:10\"\ntls = \"none\"\npriority = \"low\"\nauth = \"basic\"\nusername = \"app\"\n\
         password = \"{SECRET}\"\n"
    )
}

/// Somebody who is logged in.
struct Operator {
    admin: Admin,
    cookie: String,
}

impl Operator {
    #[track_caller]
    fn new(environment: &[(&str, &str)]) -> Operator {
        let address = free_address();
        let text = config(address, &with_password()) + &upstreams();
        let admin = Admin { proxy: Proxy::start_in(environment, &text), address };
        let (cookie, _) = admin.log_in();
        Operator { admin, cookie }
    }

    #[track_caller]
    fn page(&self, path: &str) -> String {
        let shown = page(&self.admin, path, &[&self.cookie]);
        assert!(
            !shown.contains(SECRET) && !shown.contains(PASSWORD) && !shown.contains(TOKEN),
            "{path}: {shown}"
        );
        shown
    }

    /// What a form of the page at `on` is answered with.
    #[track_caller]
    fn send(&self, on: &str, path: &str, fields: &str) -> Answer {
        let token = csrf_token(&self.page(on));
        let answer = self.admin.form(
            path,
            &[&self.cookie, "Accept: text/html"],
            &format!("csrf_token={token}&{fields}"),
        );
        let text = answer.text();
        assert!(!text.contains(SECRET), "{path}: {text}");
        answer
    }

    /// The page that an act leads to.
    #[track_caller]
    fn act(&self, on: &str, path: &str, fields: &str) -> (String, String) {
        let answer = self.send(on, path, fields);
        assert_eq!(answer.status, 303, "{answer:?}");
        let place = answer.header("location").expect("a place").to_owned();
        (place.split('?').next().unwrap().to_owned(), self.page(&place))
    }

    #[track_caller]
    fn upstream(&self, name: &str) -> Value {
        self.admin.proxy.get(&format!("/api/v1/upstreams/{name}")).expect("the upstream")
    }

    /// What the form of an upstream sends as it is, but for these fields.
    #[track_caller]
    fn edit(&self, name: &str, fields: &str) -> Answer {
        let path = format!("/upstreams/{name}/edit");
        let form = self.page(&path);
        let revision = form.split_once("name=\"revision\" value=\"").expect("a revision").1;
        let revision = revision.split_once('"').unwrap().0.to_owned();
        self.send(&path, &path, &format!("revision={revision}&{fields}"))
    }
}

#[test]
fn the_list_says_how_each_fares_and_who_may_not_change_sees_no_button() {
    let operator = Operator::new(&[]);
    let shown = operator.page("/upstreams");
    let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text}: {shown}"));
    assert!(place("id=\"upstream-main\"") < place("id=\"upstream-backup\""));
    assert!(place("127.0.0.1:9") > 0 && place("0 of 3") > 0 && place("/upstreams/main/disable") > 0);
    // Without a password nobody may change anything.
    let address = free_address();
    let nobody = Admin { proxy: Proxy::start(&(config(address, "") + &upstreams())), address };
    let shown = page(&nobody, "/upstreams", &[]);
    assert!(
        shown.contains("postroom hash") && !shown.contains("/disable") && !shown.contains("/edit"),
        "{shown}"
    );
    assert!(shown.contains("/upstreams/main/test"), "{shown}");
    let shown = page(&nobody, "/upstreams/main/edit", &[]);
    assert!(shown.contains("<fieldset class=\"bare\" disabled>"), "{shown}");
    let token = csrf_token(&shown);
    for path in ["enable", "disable", "delete", "reset", "edit"] {
        let answer = nobody.form(&format!("/upstreams/main/{path}"), &[], &format!("csrf_token={token}"));
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    let added = format!("csrf_token={token}&name=new1&host=127.0.0.1:11");
    assert_eq!(nobody.form("/upstreams/new", &[], &added).status, 403);
}

#[test]
fn no_act_is_done_without_the_csrf_token() {
    let operator = Operator::new(&[]);
    for path in ["main/enable", "main/disable", "main/delete", "main/reset", "main/edit", "main/test", "new"]
    {
        let path = format!("/upstreams/{path}");
        let answer =
            operator.admin.form(&path, &[&operator.cookie], "name=new1&host=127.0.0.1:11&confirm=yes");
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        let answer = operator.admin.form(&path, &[], "name=new1");
        assert!(matches!(answer.status, 303 | 401 | 403), "{path}: {answer:?}");
    }
    assert_eq!(operator.upstream("main")["changed"], serde_json::json!([]));
}

#[test]
fn an_upstream_is_disabled_and_enabled_and_what_waits_is_told() {
    let operator = Operator::new(&[]);
    let (place, shown) = operator.act("/upstreams", "/upstreams/main/disable", "back=/upstreams");
    assert_eq!(place, "/upstreams");
    assert!(
        shown.contains("main is disabled.") && shown.contains("upstream.main.enabled: yes → no"),
        "{shown}"
    );
    assert!(!shown.contains("all mail waits"), "{shown}");
    assert_eq!(operator.upstream("main")["enabled"], false);
    let (place, shown) = operator.act("/upstreams/backup", "/upstreams/backup/disable", "");
    assert_eq!(place, "/upstreams/backup");
    assert!(shown.contains("No upstream is enabled: all mail waits, at the moment 0 messages."), "{shown}");
    let (place, shown) = operator.act("/", "/upstreams/main/enable", "back=/");
    assert!(place == "/" && shown.contains("main is enabled."), "{place}: {shown}");
    assert_eq!(operator.upstream("main")["enabled"], true);
    // To no other page than ours.
    let (place, _) = operator.act("/", "/upstreams/main/enable", "back=https://evil.test/");
    assert_eq!(place, "/upstreams/main");
}

#[test]
fn an_upstream_is_added_used_and_deleted() {
    let operator = Operator::new(&[]);
    let fields = "name=extra&host=127.0.0.1:12&tls=none&enabled=true&connection_limit=5&auth=basic&username=me&password=hush-hush-hush%2F99";
    let (place, shown) = operator.act("/upstreams/new", "/upstreams/new", fields);
    assert_eq!(place, "/upstreams/extra");
    assert!(shown.contains("extra is added.") && shown.contains("••••••••"), "{shown}");
    let there = operator.upstream("extra");
    assert_eq!((&there["added"], &there["connection_limit"]), (&true.into(), &5.into()));
    assert_eq!(there["settings"]["password"], "****");
    // Only what differs from the defaults is stored.
    assert_eq!(there["sources"].get("command_timeout"), None);
    let sure = operator.send("/upstreams/extra", "/upstreams/extra/delete", "");
    assert!(sure.status == 200 && sure.text().contains("Delete the upstream extra?"), "{sure:?}");
    let (place, shown) = operator.act("/upstreams/extra", "/upstreams/extra/delete", "confirm=yes");
    assert!(place == "/upstreams" && shown.contains("extra is deleted."), "{shown}");
    assert_eq!(operator.admin.get("/upstreams/extra", &[&operator.cookie]).status, 404);
    // One of the file stays, and it says why.
    let (_, shown) = operator.act("/upstreams/main", "/upstreams/main/delete", "confirm=yes");
    assert!(shown.contains("upstream main is configured in"), "{shown}");
    assert_eq!(operator.upstream("main")["enabled"], true);
}

#[test]
fn what_is_wrong_with_a_new_upstream_stands_beside_its_field_with_all_that_was_typed() {
    let operator = Operator::new(&[]);
    let fields = "name=extra&host=127.0.0.1:12&enabled=true&connection_limit=many&rate_limit=fast&password=hush-hush-hush%2F99";
    let answer = operator.send("/upstreams/new", "/upstreams/new", fields);
    assert_eq!(answer.status, 422, "{answer:?}");
    let shown = answer.text();
    assert!(
        shown.contains("<a href=\"#key-connection_limit\">")
            && shown.contains("<a href=\"#key-rate_limit\">"),
        "{shown}"
    );
    assert!(
        shown.contains("value=\"many\"")
            && shown.contains("value=\"fast\"")
            && shown.contains("value=\"extra\""),
        "{shown}"
    );
    assert!(shown.contains("aria-invalid=\"true\""), "{shown}");
    // A name that is none, and one that there is.
    let answer = operator.send("/upstreams/new", "/upstreams/new", "name=a.b&host=x:1&enabled=true");
    assert_eq!(answer.status, 422, "{answer:?}");
    let answer = operator.send("/upstreams/new", "/upstreams/new", "name=main&host=x:1&enabled=true");
    assert!(
        answer.status == 409 && answer.text().contains("there is an upstream main already"),
        "{answer:?}"
    );
}

#[test]
fn only_what_was_typed_is_changed_and_can_be_taken_back() {
    let operator = Operator::new(&[]);
    let form = operator.page("/upstreams/backup/edit");
    assert!(form.contains("placeholder=\"••••••••\""), "{form}");
    let unchanged = "host=127.0.0.1:10&tls=none&priority=low&enabled=true&auth=basic&username=app&password=";
    assert_eq!(operator.edit("backup", unchanged).status, 303);
    assert_eq!(operator.upstream("backup")["changed"], serde_json::json!([]));
    let changed = "connection_limit=7&sites=&enabled=true&password=another-one&rate_limit=10%2F1m";
    assert_eq!(operator.edit("backup", changed).status, 303);
    let now = operator.upstream("backup");
    assert_eq!(now["changed"], serde_json::json!(["connection_limit", "password", "rate_limit"]));
    let form = operator.page("/upstreams/backup/edit");
    assert!(form.contains("the default is 2") && !form.contains("another-one"), "{form}");
    // One key goes back, the secret by its box, then all.
    let (place, shown) =
        operator.act("/upstreams/backup/edit", "/upstreams/backup/reset", "back=edit&key=connection_limit");
    assert!(
        place == "/upstreams/backup/edit" && shown.contains("connection_limit of backup is as it was."),
        "{shown}"
    );
    assert_eq!(operator.edit("backup", "enabled=true&remove=password").status, 303);
    assert_eq!(operator.upstream("backup")["changed"], serde_json::json!(["rate_limit"]));
    let sure = operator.send("/upstreams/backup", "/upstreams/backup/reset", "");
    assert!(sure.status == 200 && sure.text().contains("(rate_limit): 10/1m"), "{sure:?}");
    let (_, shown) = operator.act("/upstreams/backup", "/upstreams/backup/reset", "confirm=yes");
    assert!(shown.contains("backup is as it is configured."), "{shown}");
    assert_eq!(operator.upstream("backup")["changed"], serde_json::json!([]));
}

#[test]
fn a_form_that_was_open_while_somebody_else_changed_the_upstream_overwrites_nothing() {
    let operator = Operator::new(&[]);
    let form = operator.page("/upstreams/main/edit");
    let revision =
        form.split_once("name=\"revision\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    operator.act("/upstreams", "/upstreams/main/disable", "");
    let fields = format!("revision={revision}&enabled=true&connection_limit=8");
    let answer = operator.send("/upstreams/main/edit", "/upstreams/main/edit", &fields);
    assert!(answer.status == 409 && answer.text().contains("changed by somebody else"), "{answer:?}");
    assert!(answer.text().contains("value=\"8\""), "{answer:?}");
    assert_eq!(operator.upstream("main")["enabled"], false);
}

#[test]
fn what_the_environment_gives_is_locked() {
    let operator = Operator::new(&[
        ("POSTROOM_UPSTREAM__MAIN__CONNECTION_LIMIT", "4"),
        ("POSTROOM_UPSTREAM__MAIN__ENABLED", "true"),
    ]);
    let form = operator.page("/upstreams/main/edit");
    let field = form.split_once("id=\"key-connection_limit\"").unwrap().1.split_once('>').unwrap().0;
    assert!(field.contains("value=\"4\"") && field.contains("disabled"), "{field}");
    assert!(
        form.contains("class=\"lock\"") && form.contains("POSTROOM_UPSTREAM__MAIN__CONNECTION_LIMIT"),
        "{form}"
    );
    // A browser sends nothing of a disabled field: that it is not there means nothing. Nor does what somebody sends all the same.
    assert_eq!(operator.edit("main", "rate_limit=5%2F1s&connection_limit=9").status, 303);
    let now = operator.upstream("main");
    assert_eq!(now["changed"], serde_json::json!(["rate_limit"]));
    assert_eq!((&now["connection_limit"], &now["enabled"]), (&4.into(), &true.into()));
    assert!(!operator.page("/upstreams").contains("/upstreams/main/disable"));
    let (_, shown) = operator.act("/upstreams/backup", "/upstreams/main/disable", "");
    assert!(shown.contains("which outranks what is changed here"), "{shown}");
}

#[test]
fn a_test_shows_its_steps_and_what_to_mend() {
    let operator = Operator::new(&[]);
    let answer = operator.send("/upstreams/main", "/upstreams/main/test", "to=&from=");
    let shown = answer.text();
    assert_eq!(answer.status, 200, "{shown}");
    assert!(shown.contains("<strong>connect</strong> <span class=\"badge failed\">"), "{shown}");
    assert!(shown.contains("It does not work: connect failed") && shown.contains("</html>"), "{shown}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let answer = operator.send("/upstreams/main", "/upstreams/main/test", "to=no+address&from=a@b.test");
    let shown = answer.text();
    assert!(
        answer.status == 400 && shown.contains("id=\"test-wrong\"") && shown.contains("value=\"no address\""),
        "{shown}"
    );
    assert_eq!(operator.send("/upstreams", "/upstreams/nowhere/test", "").status, 404);
}
