//! A DNS server on 127.0.0.1:53 that knows one name.

use std::net::UdpSocket;

const A: &[u8] = &[0, 1];

/// Serves until the test's process ends: the name is 127.0.0.1, it has no IPv6 address, and there is no other name.
pub(super) fn serve(name: &'static str) {
    let socket = UdpSocket::bind("127.0.0.1:53").expect("a network of its own");
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            if let Some(reply) = reply(&query[..length], name) {
                let _ = socket.send_to(&reply, client);
            }
        }
    });
}

/// RFC 1035: header, question, and an answer that points to the question's name.
fn reply(query: &[u8], known: &str) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut rest = query.get(12..)?;
    while let Some((&length, behind)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, behind) = behind.split_at_checked(usize::from(length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = behind;
    }
    // The empty label, type and class.
    let kind = rest.get(1..3)?;
    let end = query.len() - rest.len() + 5;
    let is_known = labels.join(".") == known;
    let answers = u8::from(is_known && kind == A);
    let name_error = if is_known { 0 } else { 3 };
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80 | name_error, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(query.get(12..end)?);
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(reply)
}
