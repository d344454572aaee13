//! `postroom demo`: failover can be watched.

use crate::support::clients::{Envelope, smtplib};
use crate::support::proxy::postroom;
use crate::support::{Ended, free_address, spawn};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn mail_sent_to_the_demo_arrives_and_the_flaky_upstream_shows() {
    let address = free_address();
    let mut command = postroom();
    command.args(["demo", "--refuse", "1", "--listen", &address.to_string()]).stdout(Stdio::piped());
    let mut child = spawn(&mut command);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.expect("text"));
    let _demo = Ended(child);
    let mut until =
        |what: &str| lines.find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} is never said"));
    until("swaks --server");
    until("Ctrl-C");
    smtplib(address, &Envelope { from: "a@a.test", to: &["ann@b.test"] }, b"Subject: t\r\n\r\nx\r\n", &[]);
    until("[flaky]");
    until("[steady]");
    until("delivered through steady");
}
