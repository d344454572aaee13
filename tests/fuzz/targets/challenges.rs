//! Challenges of a server to a client that logs in: whatever they are, they get a right response or an error.
//!
//! An input: flags, then the challenges, each behind two bytes of its length (the last one as long as there is something). Flags:
//! the mechanism, and 8 the clock of the server is believed to be ours.

use super::Tape;
use postroom::deliver::sasl::{Login, Mechanism, Ntlm, OAuthBearer, Plain, ScramSha256, XOAuth2};
use postroom::mail::printable::is_printable;

const USERNAME: &str = "app,us=er@example.test";
const DOMAIN: &str = "DOMäIN";
const SECRET: &str = "s3cret-t0ken-of-ours";
/// Our part of the nonce.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
/// More challenges than a server may send in one exchange.
const MOST: usize = 8;

pub fn run(data: &[u8]) {
    let mut tape = Tape(data);
    let flags = tape.byte();
    let secret = SECRET.to_owned().into();
    let mut mechanism: Box<dyn Mechanism> = match flags & 7 {
        0 | 6 => Box::new(ScramSha256::with_nonce(USERNAME, &secret, NONCE.to_owned())),
        1 | 7 => Box::new(Ntlm::fixed(USERNAME, SECRET, DOMAIN, [0xaa; 8], 132_000_000_000_000_000)),
        2 => Box::new(XOAuth2::new(USERNAME, &secret)),
        3 => Box::new(OAuthBearer::new(USERNAME, &secret, "mx.example.test", 587)),
        4 => Box::new(Plain::new(USERNAME, &secret)),
        _ => Box::new(Login::new(USERNAME, &secret)),
    };
    let name = mechanism.name();
    let first = mechanism.initial_response();
    assert_eq!(first.is_some(), !matches!(name, "NTLM" | "LOGIN"), "{name}");
    let mut has_failed = false;
    for number in 0..MOST {
        let length = usize::from(tape.byte()) << 8 | usize::from(tape.byte());
        let challenge = tape.take(length);
        if is_slow(challenge) {
            return;
        }
        match mechanism.step(challenge) {
            Ok(response) => {
                assert!(!has_failed, "{name} has gone on behind an error");
                is_right(name, number, challenge, &response);
            }
            Err(error) => {
                has_failed = true;
                let text = error.to_string();
                assert!(!text.contains(SECRET) && text.chars().all(is_printable), "{text}");
            }
        }
        if let Some(refusal) = mechanism.refusal() {
            assert!(refusal.chars().all(is_printable) && refusal.chars().count() <= 200, "{refusal:?}");
        }
        if name == "SCRAM-SHA-256" {
            assert!(!mechanism.is_server_proven(), "by challenges that know nothing of the password");
        }
        if tape.0.is_empty() {
            return;
        }
    }
    assert!(has_failed, "{name} answers for ever");
}

/// SCRAM takes up to a million rounds of hashing, which is as it should be and takes too long here.
fn is_slow(challenge: &[u8]) -> bool {
    let text = String::from_utf8_lossy(challenge);
    let rounds = text.split(",i=").skip(1).map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    rounds.max().is_some_and(|digits| digits > 3)
}

fn is_right(name: &str, number: usize, challenge: &[u8], response: &[u8]) {
    match name {
        "SCRAM-SHA-256" => {
            // The proof; what a server says with `e=` gets an empty line.
            let text = str::from_utf8(response).expect("text");
            let given = String::from_utf8_lossy(challenge);
            match number {
                0 => {
                    let nonce =
                        given.strip_prefix("r=").and_then(|rest| rest.split(',').next()).expect("a nonce");
                    assert!(nonce.starts_with(NONCE) && nonce.len() > NONCE.len(), "{given}");
                    assert!(text.starts_with(&format!("c=biws,r={nonce},p=")), "{text}");
                }
                _ => assert!(given.starts_with("e=") && text.is_empty(), "{given}: {text}"),
            }
        }
        "NTLM" => match number {
            0 => assert_eq!(response[..12], *b"NTLMSSP\0\x01\0\0\0"),
            _ => authenticates(challenge, response),
        },
        "XOAUTH2" => assert!(response.is_empty()),
        "OAUTHBEARER" => assert_eq!(response, [1]),
        _ => {}
    }
    assert!(!matches!(name, "SCRAM-SHA-256" | "NTLM") || !holds(response, SECRET.as_bytes()), "{name}");
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// [MS-NLMP] section 2.2.1.3: the fields lie behind the head, one behind the other, and are what they are to be.
fn authenticates(challenge: &[u8], response: &[u8]) {
    assert!(challenge.starts_with(b"NTLMSSP\0\x02\0\0\0"));
    assert_eq!(response[..12], *b"NTLMSSP\0\x03\0\0\0");
    let unicode = challenge[20] & 1 == 1;
    let mut end = 88;
    let fields: Vec<&[u8]> = (0..6)
        .map(|number| {
            let at = 12 + 8 * number;
            let two = |at: usize| u16::from_le_bytes([response[at], response[at + 1]]);
            assert_eq!(two(at), two(at + 2));
            let start = u32::from_le_bytes(response[at + 4..at + 8].try_into().unwrap()) as usize;
            assert_eq!(start, end, "field {number}");
            end += usize::from(two(at));
            &response[start..end]
        })
        .collect();
    assert_eq!(end, response.len());
    let encode = |text: &str| match unicode {
        true => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        false => text.as_bytes().to_vec(),
    };
    assert_eq!((fields[2], fields[3]), (&encode(DOMAIN)[..], &encode(USERNAME)[..]));
    assert_eq!(fields[0].len(), 24);
    assert!(fields[1].len() >= 48, "a response of NTLMv1 has 24 bytes");
    let is_signed = response[72..88] != [0; 16];
    assert_eq!(is_signed, fields[0] == [0; 24], "an integrity code, or a response for old servers");
}
