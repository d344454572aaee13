//! Idle connections and their reuse (CASES F35).

use super::{connected, send, short, upstream, upstream_at};
use crate::support::scripted::{Act, Scripted};
use postroom::config::settings::Upstream;
use postroom::deliver::pool::Pool;
use postroom::deliver::session_error::SessionErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_messages_up_to_its_limit() {
    let server = Scripted::start(|script| script.ehlo(&["PIPELINING"]));
    let upstream = upstream_at(server.port(), |upstream| upstream.messages_per_connection = 3);
    let pool = Pool::default();
    let mut connection = super::open(&upstream).await.unwrap();
    for _ in 0..2 {
        send(&mut connection, &["a@y"]).await;
        pool.give_back(connection);
        connection = pool.take(&upstream).unwrap();
    }
    send(&mut connection, &["a@y"]).await;
    pool.give_back(connection);
    assert!(pool.is_empty());
    assert_eq!(server.wait_for_ends(1)[0].commands.last().unwrap(), "QUIT");
    assert!(server.transactions().iter().all(|received| received.session == 0));
}

// CASES F35
#[tokio::test]
async fn a_connection_that_ends_at_its_next_first_command_is_nobodys_fault() {
    for goodbye in [Act::Close, Act::last("421 4.4.2 idle for too long")] {
        for extensions in [&["PIPELINING"][..], &[]] {
            let server = Scripted::start(|script| script.ehlo(extensions));
            let mut connection = connected(&server).await;
            assert_eq!(short(&send(&mut connection, &["a@y"]).await), ["ok"]);
            server.change(|script| script.on("MAIL", goodbye.clone()));
            let done = send(&mut connection, &["a@y"]).await;
            assert_eq!((short(&done), done.began), (vec!["undecided".to_owned()], false));
            assert_eq!(done.lost.unwrap().kind, SessionErrorKind::Stale);
            let pool = Pool::default();
            pool.give_back(connection);
            assert!(pool.is_empty());
        }
    }
}

// CASES F35
#[tokio::test]
async fn a_connection_closed_while_idle_is_not_handed_out() {
    let server = Scripted::start(|script| script);
    let (upstream, pool) = (upstream(&server), Pool::default());
    let mut connection = connected(&server).await;
    send(&mut connection, &["a@y"]).await;
    pool.give_back(connection);
    drop(server);
    // The farewell is on its way through the system: it is seen as soon as the runtime has looked.
    let start = Instant::now();
    while let Some(connection) = pool.take(&upstream) {
        assert!(start.elapsed() < Duration::from_secs(30));
        pool.give_back(connection);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_idle_too_long_or_set_up_differently_is_parted_with() {
    let server = Scripted::start(|script| script);
    let (upstream, pool) = (upstream(&server), Pool::default());
    // Nobody looks at the pool: what is idle too long is closed at its time, though another one has longer.
    pool.give_back(connected(&server).await);
    let hasty = upstream_at(server.port(), |upstream| {
        upstream.name = "hasty".to_owned();
        upstream.max_idle_time = super::SHORT;
    });
    pool.give_back(super::open(&hasty).await.unwrap());
    assert!(server.wait_for_ends(1)[1].over);
    assert_eq!((pool.len(), pool.idle("hasty"), pool.idle("primary")), (1, 0, 1));
    pool.discard("primary");
    pool.all_closed("primary").await;
    assert!(pool.is_empty() && server.sessions().iter().all(|session| session.over));

    let mut changed = Upstream::clone(&upstream);
    changed.command_timeout = super::SHORT;
    let changed = Arc::new(changed);
    pool.give_back(connected(&server).await);
    pool.keep_only(&[Arc::new(Upstream::clone(&upstream))]);
    assert_eq!(pool.len(), 1);
    assert!(pool.take(&changed).is_none());
    server.wait_for_ends(3);

    pool.give_back(connected(&server).await);
    pool.keep_only(&[changed]);
    assert!(pool.is_empty());
    server.wait_for_ends(4);

    // Any setting counts: which of them a connection depends on was once a list, and lists are forgotten.
    let mut ranked = Upstream::clone(&upstream);
    ranked.connection_limit += 1;
    pool.give_back(connected(&server).await);
    assert!(pool.take(&ranked).is_none());
    server.wait_for_ends(4);

    pool.give_back(connected(&server).await);
    pool.close().await;
    assert!(pool.is_empty());
    for session in server.wait_for_ends(5) {
        assert_eq!(session.commands, ["EHLO mail.test", "QUIT"]);
    }
}
