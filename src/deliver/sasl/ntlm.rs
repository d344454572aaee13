//! NTLM over SMTP ([MS-SMTPNTLM]): NTLMv2 of [MS-NLMP], without signing or sealing, as no later byte of an SMTP session uses
//! a key of it.
//!
//! NTLMv1 is never sent: a listener finds the password from it within hours.

use super::{Mechanism, SaslError};
use crate::config::Secret;
use aws_lc_rs::rand;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use md4::Md4;
use md5::{Digest, Md5};
use secrecy::ExposeSecret;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Unicode, the target's name, NTLM, always sign, extended session security, target information, version, 128 and 56 bits:
/// what current clients of Windows ask for, as far as it does not need a session key.
const FLAGS: u32 = 0x0000_0001
    | 0x0000_0004
    | 0x0000_0200
    | 0x0000_8000
    | 0x0008_0000
    | 0x0080_0000
    | 0x0200_0000
    | 0x2000_0000
    | 0x8000_0000;

/// Windows 10, NTLMSSP revision 15: version numbers are for diagnosis only.
const VERSION: [u8; 8] = [10, 0, 0x61, 0x4a, 0, 0, 0, 15];

/// Where the message integrity code stands in the last message.
const MIC: std::ops::Range<usize> = 72..88;

// Kinds of target information ([MS-NLMP] section 2.2.2.1).
const END: u16 = 0;
const AV_FLAGS: u16 = 6;
const AV_TIMESTAMP: u16 = 7;

/// In `AV_FLAGS`: the last message has an integrity code.
const HAS_MIC: u32 = 2;

const MALFORMED: SaslError = SaslError("the server's challenge is no NTLM message");

/// NTLMv2.
pub struct Ntlm {
    username: String,
    password: Secret,
    domain: String,
    client_challenge: [u8; 8],
    /// Tenths of microseconds since 1601.
    time: u64,
    state: NtlmState,
}

enum NtlmState {
    /// The server has not said that it is ready.
    Begun,
    /// The first message, which the integrity code covers.
    Negotiated(Vec<u8>),
    Finished,
}

/// What follows from password and challenges ([MS-NLMP] section 3.3.2).
pub(super) struct Responses {
    pub(super) lm: Vec<u8>,
    pub(super) nt: Vec<u8>,
    pub(super) session_base_key: [u8; 16],
}

impl Ntlm {
    /// None where the system has no randomness. `now`: by the wall clock.
    pub fn new(username: &str, password: &Secret, domain: &str, now: Timestamp) -> Option<Ntlm> {
        let mut client_challenge = [0; 8];
        rand::fill(&mut client_challenge).ok()?;
        // From 1601 to 1970.
        let time = u64::try_from(now.as_microsecond()).unwrap_or_default() * 10 + 116_444_736_000_000_000;
        let (username, domain) = (username.to_owned(), domain.to_owned());
        Some(Ntlm {
            username,
            password: password.clone(),
            domain,
            client_challenge,
            time,
            state: NtlmState::Begun,
        })
    }

    /// With all that is chosen by chance given.
    pub fn fixed(username: &str, password: &str, domain: &str, challenge: [u8; 8], time: u64) -> Ntlm {
        let (username, domain) = (username.to_owned(), domain.to_owned());
        let password = password.to_owned().into();
        Ntlm { username, password, domain, client_challenge: challenge, time, state: NtlmState::Begun }
    }

    /// `info`: the server's target information. `has_time`: it holds the server's time.
    pub(super) fn responses(&self, server: [u8; 8], time: u64, info: &[u8], has_time: bool) -> Responses {
        let nt_hash = Md4::digest(utf16(self.password.expose_secret()));
        let identity = utf16(&format!("{}{}", self.username.to_uppercase(), self.domain));
        let key = hmac_md5(&nt_hash, &[&identity]);
        let mut temp = vec![1, 1, 0, 0, 0, 0, 0, 0];
        temp.extend(time.to_le_bytes());
        temp.extend(self.client_challenge);
        temp.extend([0; 4]);
        temp.extend(info);
        temp.extend([0; 4]);
        let proof = hmac_md5(&key, &[&server, &temp]);
        let lm = match has_time {
            true => vec![0; 24],
            false => {
                [&hmac_md5(&key, &[&server, &self.client_challenge])[..], &self.client_challenge].concat()
            }
        };
        Responses { lm, nt: [&proof[..], &temp].concat(), session_base_key: hmac_md5(&key, &[&proof]) }
    }

    fn authenticate(&self, negotiate: &[u8], challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let Challenge { flags, nonce, mut info } = Challenge::parse(challenge).ok_or(MALFORMED)?;
        let server_time = info.iter().find(|(kind, _)| *kind == AV_TIMESTAMP);
        let server_time = server_time.and_then(|(_, value)| <[u8; 8]>::try_from(value.as_slice()).ok());
        if server_time.is_some() {
            let old = info.iter().position(|(kind, _)| *kind == AV_FLAGS).map(|place| info.remove(place).1);
            let old = old.and_then(|value| value.try_into().ok()).map_or(0, u32::from_le_bytes);
            info.push((AV_FLAGS, (old | HAS_MIC).to_le_bytes().to_vec()));
        }
        let time = server_time.map_or(self.time, u64::from_le_bytes);
        let responses = self.responses(nonce, time, &render(&info), server_time.is_some());
        // An ancient server that knows no Unicode gets bytes.
        let encode = |text: &str| if flags & 1 != 0 { utf16(text) } else { text.as_bytes().to_vec() };
        let fields = [
            responses.lm,
            responses.nt,
            encode(&self.domain),
            encode(&self.username),
            Vec::new(),
            Vec::new(),
        ];
        let mut message = [&SIGNATURE[..], &3_u32.to_le_bytes()].concat();
        let mut offset = MIC.end;
        for field in &fields {
            let length = u16::try_from(field.len()).map_err(|_| MALFORMED)?.to_le_bytes();
            message.extend([length, length].concat());
            message.extend(u32::try_from(offset).unwrap_or_default().to_le_bytes());
            offset += field.len();
        }
        message.extend((flags & FLAGS).to_le_bytes());
        message.extend(VERSION);
        message.extend([0; 16]);
        message.extend(fields.concat());
        if server_time.is_some() {
            let code = hmac_md5(&responses.session_base_key, &[negotiate, challenge, &message]);
            message[MIC].copy_from_slice(&code);
        }
        Ok(message)
    }
}

impl Mechanism for Ntlm {
    fn name(&self) -> &'static str {
        "NTLM"
    }

    fn initial_response(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        match std::mem::replace(&mut self.state, NtlmState::Finished) {
            // `334 ntlm supported`, or whatever.
            NtlmState::Begun => {
                let negotiate = negotiate();
                self.state = NtlmState::Negotiated(negotiate.clone());
                Ok(negotiate)
            }
            NtlmState::Negotiated(negotiate) => self.authenticate(&negotiate, challenge),
            NtlmState::Finished => Err(SaslError("the server asks for more than NTLM has")),
        }
    }
}

/// The first message: what we can do, and nothing about us.
fn negotiate() -> Vec<u8> {
    [&SIGNATURE[..], &1_u32.to_le_bytes(), &FLAGS.to_le_bytes(), &[0; 16], &VERSION].concat()
}

/// What the server says.
struct Challenge {
    flags: u32,
    nonce: [u8; 8],
    /// Kinds and values, without the end.
    info: Vec<(u16, Vec<u8>)>,
}

impl Challenge {
    fn parse(message: &[u8]) -> Option<Challenge> {
        let number = |at: usize| Some(u32::from_le_bytes(message.get(at..at + 4)?.try_into().ok()?));
        if message.get(..8)? != SIGNATURE || number(8)? != 2 {
            return None;
        }
        let (flags, nonce) = (number(20)?, message.get(24..32)?.try_into().ok()?);
        let mut info = Vec::new();
        // Servers that are older than NTLMv2 end here.
        if let (Some(length), Some(offset)) = (number(40), number(44)) {
            let start = usize::try_from(offset).ok()?;
            let mut rest = message.get(start..start.checked_add((length & 0xffff) as usize)?)?;
            while let Some((head, behind)) = rest.split_at_checked(4) {
                let kind = u16::from_le_bytes([head[0], head[1]]);
                let (value, behind) =
                    behind.split_at_checked(u16::from_le_bytes([head[2], head[3]]).into())?;
                if kind == END {
                    break;
                }
                info.push((kind, value.to_vec()));
                rest = behind;
            }
        }
        Some(Challenge { flags, nonce, info })
    }
}

fn render(info: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in info {
        bytes.extend(kind.to_le_bytes());
        // No longer than what it was read from, or four bytes.
        bytes.extend(u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(value);
    }
    bytes.extend([0; 4]);
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(key) else { return [0; 16] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
