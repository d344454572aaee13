//! Strangers who try passwords, as fast as they can: nobody else waits for them, and memory stays what it is.

use super::process::{MIB, assert_within};
use crate::support::proxy::Proxy;
use crate::support::talk::Talk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::time::{Duration, Instant};

/// In KiB: four hashes at a time, on large machines, of 19 MiB each, one for a client that is known, and the sessions.
const BOUND: u64 = 144 * MIB;
const TRIES: usize = 1_000;

fn auth_plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}\r\n", BASE64.encode(format!("\0{name}\0{password}")))
}

// CASES C10
#[test]
fn a_thousand_wrong_passwords_at_once_keep_nobody_else_waiting() {
    let hash = postroom::config::password::hash("right").unwrap();
    let proxy = Proxy::start(&format!(
        "[sending]\nenabled = false\n[limits]\nconnections = 1100\n[listener.test]\naddress = \"@LISTEN@\"\n\
         auth = \"optional\"\n[user.shop]\npassword_hash = \"{hash}\"\n"
    ));
    let mut shop = Talk::hello(proxy.address());
    shop.send(auth_plain("shop", "right"));
    shop.hear("235");
    let stranger = [127, 0, 0, 2].into();
    let mut others: Vec<Talk> = (0..TRIES).map(|_| Talk::hello_from(stranger, proxy.address())).collect();

    let began = Instant::now();
    for (number, talk) in others.iter_mut().enumerate() {
        // Half of them try the name of a user.
        let name = if number % 2 == 0 { format!("user{number}") } else { "shop".to_owned() };
        talk.send(auth_plain(&name, &format!("wrong{number}")));
    }
    println!("{TRIES} wrong passwords within {:?}", began.elapsed());

    assert!(Talk::hello(proxy.address()).mail("b@b.test", 100).starts_with("250"), "who needs no AUTH");
    let mut shop = Talk::hello(proxy.address());
    shop.send(auth_plain("shop", "right"));
    shop.hear("235");
    assert!(shop.mail("b@b.test", 100).starts_with("250"), "who has given the right password before");
    println!("others were served within {:?}", began.elapsed());
    let last = others.last_mut().unwrap();
    assert!(last.is_silent_for(Duration::from_millis(1)), "nobody waited until all of them were answered");
    others[0].hear("535 5.7.8");
    assert_within(&proxy, BOUND, "1,000 wrong passwords at once");
}
