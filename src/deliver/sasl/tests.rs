//! The examples of the mechanisms' own documents.

use super::ntlm::Ntlm;
use super::{Login, Mechanism, OAuthBearer, Plain, ScramSha256, XOAuth2};
use crate::config::Secret;
use proptest::collection::vec;
use proptest::prelude::*;

fn secret(text: &str) -> Secret {
    text.to_owned().into()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn pencil() -> ScramSha256 {
    ScramSha256::with_nonce("user", &secret("pencil"), NONCE.to_owned())
}

// RFC 7677 section 3.
#[test]
fn scram_sha_256() {
    let mut scram = pencil();
    assert_eq!(scram.initial_response().unwrap(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let response = scram.step(SERVER_FIRST.as_bytes()).unwrap();
    let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(response, expected.as_bytes());
    assert!(!scram.is_server_proven());
    assert_eq!(scram.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap(), b"");
    assert!(scram.is_server_proven());
}

#[test]
fn scram_takes_no_server_that_does_not_know_the_password() {
    let mut scram = pencil();
    scram.step(SERVER_FIRST.as_bytes()).unwrap();
    let error = scram.step(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap_err();
    assert!(error.to_string().contains("did not prove"), "{error}");
    assert!(!scram.is_server_proven());

    let mut refused = pencil();
    refused.step(SERVER_FIRST.as_bytes()).unwrap();
    assert_eq!(refused.step(b"e=invalid-proof").unwrap(), b"");
    assert!(!refused.is_server_proven());
}

#[test]
fn scram_answers_nothing_that_is_no_challenge_to_it() {
    for challenge in [
        "",
        "\u{fffd}",
        "r=,s=,i=",
        "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=another%nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=no base64,i=4096",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0",
        "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
        "m=extension,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    ] {
        assert!(pencil().step(challenge.as_bytes()).is_err(), "{challenge}");
    }
}

#[test]
fn a_name_with_commas_is_escaped_and_no_two_nonces_are_the_same() {
    let mut scram = ScramSha256::with_nonce("a=b,c", &secret("x"), NONCE.to_owned());
    assert!(scram.initial_response().unwrap().starts_with(b"n,,n=a=3Db=2Cc,r="));
    let first = |mut scram: ScramSha256| scram.initial_response().unwrap();
    let new = || ScramSha256::new("user", &secret("pencil")).unwrap();
    assert_ne!(first(new()), first(new()));
}

// RFC 4616 section 4.
#[test]
fn plain_and_login() {
    let mut plain = Plain::new("tim", &secret("tanstaaftanstaaf"));
    assert_eq!(plain.initial_response().unwrap(), b"\0tim\0tanstaaftanstaaf");
    let mut login = Login::new("tim", &secret("tanstaaftanstaaf"));
    assert_eq!(login.initial_response(), None);
    assert_eq!(login.step(b"Username:").unwrap(), b"tim");
    assert_eq!(login.step(b"").unwrap(), b"tanstaaftanstaaf");
    assert!(login.step(b"Anything else:").is_err());
}

// Google's "OAuth 2.0 Mechanism" and RFC 7628 section 4.1.
#[test]
fn bearer_tokens() {
    let token = secret("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    let mut bearer = OAuthBearer::new("user@example.com", &token, "server.example.com", 587);
    let expected = "n,a=user@example.com,\x01host=server.example.com\x01port=587\x01\
                    auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
    assert_eq!(bearer.initial_response().unwrap(), expected.as_bytes());
    assert_eq!(bearer.step(br#"{"status":"invalid_token"}"#).unwrap(), [1]);
    assert_eq!(bearer.refusal(), Some(r#"{"status":"invalid_token"}"#));
    assert!(bearer.step(b"").is_err());

    let mut bearer =
        XOAuth2::new("someuser@example.com", &secret("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"));
    let expected =
        "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01";
    assert_eq!(bearer.initial_response().unwrap(), expected.as_bytes());
    assert_eq!(bearer.step(br#"{"status":"400"}"#).unwrap(), b"");
}

/// The target information of [MS-NLMP] section 4.2.4.
const TARGET: &str = "0200 0c00 44006f006d00610069006e00 0100 0c00 530065007200760065007200 0000 0000";

fn example() -> Ntlm {
    Ntlm::fixed("User", "Password", "Domain", [0xaa; 8], 0)
}

// [MS-NLMP] section 4.2.4.
#[test]
fn ntlm_v2() {
    let server = hex("0123456789abcdef").try_into().unwrap();
    let responses = example().responses(server, 0, &hex(TARGET), false);
    assert_eq!(responses.nt[..16], hex("68cd0ab851e51c96aabc927bebef6a1c"));
    assert_eq!(responses.lm, hex("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
    assert_eq!(responses.session_base_key[..], hex("8de40ccadbc14a82f15cb0ad0de95ca3"));
}

/// A challenge with this target information.
fn challenge(info: &[u8]) -> Vec<u8> {
    let length = u16::try_from(info.len()).unwrap().to_le_bytes();
    let head = hex("4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000");
    let name = hex("530065007200760065007200");
    [&head[..], &length, &length, &hex("44000000 060070170000000f"), &name, info].concat()
}

#[test]
fn the_ntlm_exchange() {
    let mut ntlm = example();
    assert_eq!(ntlm.initial_response(), None);
    let negotiate = ntlm.step(b"").unwrap();
    assert_eq!(negotiate[..12], hex("4e544c4d53535000 01000000"));
    let message = ntlm.step(&challenge(&hex(TARGET))).unwrap();
    let field = |number: usize| {
        let at = 12 + 8 * number;
        let length = usize::from(u16::from_le_bytes(message[at..at + 2].try_into().unwrap()));
        let start = u32::from_le_bytes(message[at + 4..at + 8].try_into().unwrap()) as usize;
        &message[start..start + length]
    };
    assert_eq!(message[..12], hex("4e544c4d53535000 03000000"));
    assert_eq!(field(0), hex("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa"));
    assert_eq!(field(1)[..16], hex("68cd0ab851e51c96aabc927bebef6a1c"));
    assert_eq!(field(2), hex("44006f006d00610069006e00"), "Domain");
    assert_eq!(field(3), hex("5500730065007200"), "User");
    assert_eq!(message[72..88], [0; 16], "no integrity code for a server without a clock");
    assert!(ntlm.step(b"").is_err());
}

#[test]
fn ntlm_answers_the_servers_clock_with_an_integrity_code() {
    let time = hex("0700 0800 0090d336b734c301");
    let info = [&hex(TARGET)[..32], &time, &[0; 4]].concat();
    let mut ntlm = example();
    ntlm.step(b"").unwrap();
    let message = ntlm.step(&challenge(&info)).unwrap();
    assert_ne!(message[72..88], [0; 16]);
    assert_eq!(message[88..88 + 24], [0; 24], "no LM response");
    let mut other = example();
    other.step(b"").unwrap();
    assert_eq!(other.step(&challenge(&info)).unwrap(), message);
}

#[test]
fn ntlm_answers_nothing_that_is_no_challenge() {
    let whole = challenge(&hex(TARGET));
    let wrong_offset = {
        let mut bytes = whole.clone();
        bytes[44..48].copy_from_slice(&[0xff; 4]);
        bytes
    };
    let cut = |length: usize| whole[..length].to_vec();
    for bytes in [Vec::new(), cut(7), cut(31), cut(60), wrong_offset, vec![0xff; 100]] {
        let mut ntlm = example();
        ntlm.step(b"").unwrap();
        assert!(ntlm.step(&bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    /// Whatever a server sends: an answer or an error, and never a panic.
    #[test]
    fn any_challenges(challenges in vec(vec(any::<u8>(), 0..200), 0..5), cut in 0..200_usize, flip in 0..120_usize) {
        let mut near = challenge(&hex(TARGET));
        near.truncate(cut);
        if let Some(byte) = near.get_mut(flip) {
            *byte ^= 0xff;
        }
        let mechanisms: [Box<dyn Mechanism>; 4] = [
            Box::new(pencil()),
            Box::new(example()),
            Box::new(Plain::new("u", &secret("p"))),
            Box::new(Login::new("u", &secret("p"))),
        ];
        for mut mechanism in mechanisms {
            mechanism.initial_response();
            let _ = mechanism.step(b"");
            let _ = mechanism.step(&near);
            for challenge in &challenges {
                let _ = mechanism.step(challenge);
            }
        }
    }
}
