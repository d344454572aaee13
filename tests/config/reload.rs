//! What a reload may change.

use super::Desk;
use postroom::config::{changes, unreloadable};

#[test]
fn data_dir_and_queue_path_take_a_restart() {
    let old = Desk::new().flag("data_dir", "/a").loaded().settings;
    assert_eq!(unreloadable(&old, &old), []);

    let other =
        Desk::with("[limits]\nrecipients = 500\n[upstream.a]\nhost = \"a.test\"\n").flag("data_dir", "/a");
    assert_eq!(unreloadable(&old, &other.loaded().settings), []);

    let moved = Desk::new().flag("data_dir", "/b").loaded().settings;
    let keys: Vec<String> = unreloadable(&old, &moved).into_iter().map(|error| error.key).collect();
    assert_eq!(keys, ["data_dir", "queue.path"]);

    let queue = Desk::new().flag("data_dir", "/a").flag("queue.path", "other.redb").loaded().settings;
    let errors = unreloadable(&old, &queue);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with("queue.path: "), "{}", errors[0]);
    assert!(errors[0].right.contains("restart"));
}

#[test]
fn changes_are_told_in_words_without_values() {
    let old = Desk::with(
        "default_domain = \"a.test\"\n[upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"one\"\n\
         [upstream.b]\nhost = \"b.test\"\n[upstream.c]\nhost = \"c.test\"\n",
    );
    let new = Desk::with(
        "[aliases]\nroot = \"a@b.test\"\n[limits]\nrecipients = 500\n[listener.app]\naddress = \"127.0.0.1:26\"\n\
         [upstream.a]\nhost = \"a.test\"\nauth = \"basic\"\nusername = \"u\"\npassword = \"two\"\n\
         [upstream.b]\nhost = \"b.test\"\n[upstream.d]\nhost = \"d.test\"\n",
    );
    let (old, new) =
        (old.flag("data_dir", "/a").loaded().settings, new.flag("data_dir", "/a").loaded().settings);
    assert_eq!(
        changes(&old, &new),
        [
            "default_domain changed",
            "aliases changed",
            "limits changed",
            "listener local removed",
            "listener app added",
            "upstream c removed",
            "upstream a changed",
            "upstream d added",
        ]
    );
    assert_eq!(changes(&old, &old), [""; 0]);
}

#[test]
fn a_wrong_configuration_still_tells_where_the_running_proxy_is() {
    let data_dir = |desk: &Desk| desk.load().unwrap_err().data_dir;
    let wrong = Desk::with("data_dir = \"d\"\n[limits]\nrecipients = 1\n");
    assert_eq!(data_dir(&wrong), Some(wrong.path("d")));
    let broken = Desk::with("data_dir = \"d\" # here\n[limits\nrecipients = 1\n");
    assert_eq!(data_dir(&broken), Some(broken.path("d")));
    let elsewhere = Desk::with("[limits\ndata_dir = \"d\"\n");
    assert_eq!(data_dir(&elsewhere), None);
    assert_eq!(data_dir(&elsewhere.variable("POSTROOM_DATA_DIR", "/a")), Some("/a".into()));
    assert_eq!(data_dir(&Desk::with("data_dir = 5\n")), None);
}
