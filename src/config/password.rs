//! Passwords of users, as they are stored and held against what a client says.
//!
//! A hash is made to cost much time and memory, on purpose: nobody computes one on a thread that serves clients.

use super::secret::Secret;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use secrecy::ExposeSecret;
use std::sync::{LazyLock, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// What a password is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredPassword {
    /// The password itself.
    Plain(Secret),
    /// Its argon2 hash, in the PHC string format.
    Hash(Secret),
}

/// RFC 9106 section 3.1 recommends so many bytes.
const SALT_BYTES: usize = 16;

/// The argon2id hash of a password, with a salt of its own.
///
/// # Errors
/// In words: the system gives no random numbers.
pub fn hash(password: &str) -> Result<String, String> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| "the system gives no random numbers".to_owned())?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// What is wrong with a hash in the configuration, if anything is.
pub(super) fn check_hash(hash: &str) -> Result<(), String> {
    let parsed = PasswordHash::new(hash).map_err(|_| "is no hash in the PHC string format".to_owned())?;
    if !matches!(parsed.algorithm.as_str(), "argon2id" | "argon2i" | "argon2d") {
        return Err(format!("is a hash by {}, not by argon2", parsed.algorithm));
    }
    Params::try_from(&parsed).map_err(|error| format!("has parameters that cannot be used: {error}"))?;
    match parsed.salt.is_some() && parsed.hash.is_some() {
        true => Ok(()),
        false => Err("is a hash that is not whole".to_owned()),
    }
}

impl StoredPassword {
    /// Whether they are equal, for a password that is stored as it is; found in the same time wherever they differ.
    pub fn equals(&self, password: &Secret) -> bool {
        match self {
            StoredPassword::Plain(stored) => {
                stored.expose_secret().as_bytes().ct_eq(password.expose_secret().as_bytes()).into()
            }
            StoredPassword::Hash(_) => false,
        }
    }

    /// Whether the password has this hash. Costs what one argon2 hash costs, also where there is no hash to compare with:
    /// `None` and passwords that are stored as they are take the time of `like`, else of a hash that [`hash`] makes, and are
    /// never right.
    pub fn verify_hash(
        stored: Option<&StoredPassword>,
        like: Option<&StoredPassword>,
        password: &Secret,
    ) -> bool {
        let hash = |stored: Option<&StoredPassword>| match stored {
            Some(StoredPassword::Hash(hash)) => Some(hash.clone()),
            _ => None,
        };
        let (hash, is_right) = match hash(stored) {
            Some(hash) => (hash, true),
            None => (hash(like).unwrap_or_else(|| NOBODY.clone()), false),
        };
        has_hash(password.expose_secret().as_bytes(), hash.expose_secret()).unwrap_or(false) && is_right
    }
}

/// Memory in which hashes were computed, for the next ones: as many pieces as were computed at the same time. Were it given back
/// each time, the allocator would keep it for each thread that has ever computed one.
static MEMORY: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// Whether the password has that hash; none where it is no hash by argon2.
fn has_hash(password: &[u8], hash: &str) -> Option<bool> {
    let parsed = PasswordHash::new(hash).ok()?;
    let (salt, expected) = (parsed.salt.as_ref()?, parsed.hash.as_ref()?);
    let algorithm = Algorithm::new(parsed.algorithm.as_str()).ok()?;
    let version = parsed.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
    let params = Params::try_from(&parsed).ok()?;
    let blocks = params.block_count();
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let mut computed = vec![0; expected.len()];
    let argon2 = Argon2::new(algorithm, version, params);
    let done = argon2.hash_password_into_with_memory(password, salt, &mut computed, &mut memory[..blocks]);
    MEMORY.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    done.ok()?;
    Some(computed.ct_eq(expected.as_bytes()).into())
}

/// The hash of a password that nobody has.
static NOBODY: LazyLock<Secret> = LazyLock::new(|| hash("").unwrap_or_default().into());

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn a_hash_fits_its_password_alone_and_has_a_salt_of_its_own() {
        let (one, other) = (hash("opensesame").unwrap(), hash("opensesame").unwrap());
        assert_ne!(one, other);
        assert_eq!(check_hash(&one), Ok(()));
        let stored = StoredPassword::Hash(one.into());
        assert!(StoredPassword::verify_hash(Some(&stored), None, &secret("opensesame")));
        assert!(!StoredPassword::verify_hash(Some(&stored), None, &secret("opensesamE")));
        assert!(!stored.equals(&secret("opensesame")));
    }

    #[test]
    fn hashes_with_other_parameters_are_understood() {
        for (algorithm, memory, passes, lanes, length) in [
            (Algorithm::Argon2id, 65_536, 3, 4, 32),
            (Algorithm::Argon2i, 4_096, 3, 1, 16),
            (Algorithm::Argon2d, 1_024, 1, 2, 64),
            (Algorithm::Argon2id, 19_456, 2, 1, 32),
        ] {
            let params = Params::new(memory, passes, lanes, Some(length)).unwrap();
            let argon2 = Argon2::new(algorithm, Version::V0x13, params);
            let hash = argon2.hash_password_with_salt(b"opensesame", b"some salt").unwrap().to_string();
            assert_eq!(check_hash(&hash), Ok(()));
            assert_eq!(has_hash(b"opensesame", &hash), Some(true), "{hash}");
            assert_eq!(has_hash(b"opensesamE", &hash), Some(false), "{hash}");
        }
    }

    #[test]
    fn hashes_that_php_makes_are_understood() {
        for hash in [
            "$argon2id$v=19$m=65536,t=4,p=1$R1Jvd2VXMU5SZUJTSkpuSw$1CvoavKoc2VVinJgYE2xJlUWsUIdzY5wGbclCqGUgrc",
            "$argon2i$v=19$m=65536,t=4,p=1$SEY4WVQyQzBwaE5hSlc0Tg$v9PMlVvoH+slYkFrPi8yHe/8zEy/FN7m3zAoTdUzRDQ",
        ] {
            assert_eq!(check_hash(hash), Ok(()));
            assert_eq!(has_hash(b"opensesame", hash), Some(true));
            assert_eq!(has_hash(b"opensesam", hash), Some(false));
        }
    }

    #[test]
    fn nobody_has_the_password_of_nobody() {
        let stored = StoredPassword::Plain(secret(""));
        for like in [None, Some(&stored)] {
            assert!(!StoredPassword::verify_hash(None, like, &secret("")));
            assert!(!StoredPassword::verify_hash(Some(&stored), like, &secret("")));
        }
    }

    #[test]
    fn what_is_no_argon2_hash_is_refused() {
        let short = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0";
        let bcrypt = "$2y$10$abcdefghijklmnopqrstuu0a6VgTHHZpLxQeHvJ8n0FQb4pWn1iaW";
        let scrypt =
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E";
        for text in ["opensesame", short, bcrypt, scrypt, "$argon2id$v=19$m=1,t=0,p=0$c2FsdHNhbHRzYWx0$AAAA"]
        {
            assert!(check_hash(text).is_err(), "{text}");
        }
    }
}
