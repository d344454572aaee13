//! A numbered message, and how its reader finds out that it is whole: number, length and checksum of the body stand in
//! its header, the number also in the recipient's address.

use postroom::mail::QueueId;
use xxhash_rust::xxh3::xxh3_64;

/// What every body is cut from; dots at line starts, and lines of several lengths.
const TEXT: &str = "The quick brown fox jumps over the lazy dog.\r\n.\r\n..two dots\r\n.hidden files begin so\r\n\
    a longer line, which goes on and on until it has more than the seventy-eight columns that one may expect of it\r\n\
    \r\nFrom here on\r\n";

/// Of one in so many own messages the upstreams know no recipient.
const UNKNOWN: u64 = 32;
/// Who sends, and is told what fails.
pub const SENDER: &str = "ann@client.test";
/// Where nobody is known.
pub const GONE: &str = "@gone.test";

/// The recipient of that number.
pub fn recipient(number: u64) -> String {
    let domain = if number.is_multiple_of(UNKNOWN) { GONE } else { "@soak.test" };
    format!("n{number}{domain}")
}

fn local_part(recipient: &str) -> Result<&str, String> {
    let local = recipient.strip_suffix("@soak.test").or_else(|| recipient.strip_suffix(GONE));
    local.ok_or_else(|| format!("<{recipient}> is nobody"))
}

/// Whose message it is, by its recipient.
pub fn number_of(recipient: &str) -> Result<u64, String> {
    let local = local_part(recipient)?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    match local.split_once("burst-") {
        Some((place, burst)) => Ok(number(burst)? + number(place)?),
        None => number(local.strip_prefix('n').ok_or_else(|| format!("{local} is nobody"))?),
    }
}

/// Who gets mail while redirect is on.
pub const REPORT: &str = "report@qa.test";

/// A message of about `size` bytes, dots not doubled.
pub fn write(number: u64, size: usize) -> Vec<u8> {
    let mut body = format!("Number {number}.\r\n").into_bytes();
    while body.len() < size {
        let rest = (size - body.len()).min(TEXT.len());
        body.extend_from_slice(&TEXT.as_bytes()[..rest]);
    }
    // Cut anywhere, it ends with a whole line.
    while body.last().is_some_and(|last| b"\r\n".contains(last)) {
        body.pop();
    }
    body.extend_from_slice(b"\r\n");
    let mut letter = format!(
        "Subject: number {number}\r\nFrom: <{SENDER}>\r\nX-Number: {number}\r\nX-Body: {} {:016x}\r\n\r\n",
        body.len(),
        xxh3_64(&body)
    )
    .into_bytes();
    letter.append(&mut body);
    letter
}

/// RFC 5321 section 4.5.2, with the final dot.
pub fn stuffed(letter: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(letter.len() + letter.len() / 16 + 8);
    let mut start = 0;
    for end in memchr::memmem::find_iter(letter, b"\n.") {
        stuffed.extend_from_slice(&letter[start..=end]);
        stuffed.push(b'.');
        start = end + 1;
    }
    stuffed.extend_from_slice(&letter[start..]);
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

/// What came, dots undoubled: `stuffed` ends with CRLF.CRLF.
pub fn unstuffed(stuffed: &[u8]) -> Vec<u8> {
    let content = &stuffed[..stuffed.len() - 3];
    let mut letter = Vec::with_capacity(content.len());
    let mut start = 0;
    for end in memchr::memmem::find_iter(content, b"\n.") {
        letter.extend_from_slice(&content[start..=end]);
        start = end + 2;
    }
    letter.extend_from_slice(&content[start..]);
    letter
}

/// What came.
#[derive(PartialEq, Eq, Debug)]
pub struct Letter {
    /// Its number, or that of the message that it tells of.
    pub number: u64,
    /// The id under which the proxy had it.
    pub queue_id: QueueId,
    /// It is a notice: the id of the message that it tells of.
    pub about: Option<QueueId>,
}

/// Whose message it is and under which id the proxy had it, or what is wrong with it.
pub fn read(rcpt: &str, letter: &[u8]) -> Result<Letter, String> {
    let split = memchr::memmem::find(letter, b"\r\n\r\n").ok_or("it has no body")?;
    let header = std::str::from_utf8(&letter[..split]).map_err(|error| error.to_string())?;
    let body = &letter[split + 4..];
    // A report copy names the recipient that it stands for.
    let original = header.split_once("\r\nX-Original-To: ").and_then(|(_, rest)| rest.lines().next());
    let rcpt = match (rcpt == REPORT, original) {
        (true, Some(original)) => original,
        (false, None) => rcpt,
        _ => return Err(format!("for {original:?}: no report copy goes there, or no other mail")),
    };
    if rcpt == SENDER {
        return read_notice(header, body);
    }
    let id = header.split_once("\r\n\twith ").and_then(|(_, rest)| rest.split_once(" id "));
    let queue_id = queue_id(id)?;
    let local = local_part(rcpt)?;
    let number = match local.split_once("burst-") {
        Some((place, burst)) => read_burst(place, burst, body)?,
        None => read_own(local, header, body)?,
    };
    Ok(Letter { number, queue_id, about: None })
}

/// What stands behind the split, up to the semicolon.
fn queue_id(split: Option<(&str, &str)>) -> Result<QueueId, String> {
    let id = split.and_then(|(_, rest)| rest.split_once(';')).ok_or("it has no queue id")?.0;
    id.parse().map_err(|error| format!("{id}: {error}"))
}

/// Of whom a notice tells: of exactly one recipient that is not known.
fn read_notice(header: &str, body: &[u8]) -> Result<Letter, String> {
    let queue_id = queue_id(header.split_once("\r\n\tid "))?;
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let values =
        |name: &str| -> Vec<&str> { body.lines().filter_map(|line| line.strip_prefix(name)).collect() };
    let (told, about) = (values("Final-Recipient: rfc822; "), values("X-Postroom-Queue-ID: "));
    let (&[told], &[about], ["failed"]) = (&told[..], &about[..], &values("Action: ")[..]) else {
        return Err(format!("a notice about {told:?} of {about:?}"));
    };
    if !told.ends_with(GONE) || !body.contains("\r\nX-Number: ") {
        return Err(format!("a notice about <{told}>, whom the upstreams know, or without the header"));
    }
    let about = about.parse().map_err(|error| format!("{about}: {error}"))?;
    Ok(Letter { number: number_of(told)?, queue_id, about: Some(about) })
}

fn read_own(local: &str, header: &str, body: &[u8]) -> Result<u64, String> {
    let number = local.strip_prefix('n').ok_or_else(|| format!("{local} is nobody"))?;
    let field = |name: &str| {
        header
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .ok_or_else(|| format!("no {name} for {local}"))
    };
    if field("X-Number: ")? != number {
        return Err(format!("for {local} came the message of {}", field("X-Number: ")?));
    }
    let found = format!("{} {:016x}", body.len(), xxh3_64(body));
    if field("X-Body: ")? != found {
        return Err(format!("number {number} should be {}, is {found}", field("X-Body: ")?));
    }
    number.parse().map_err(|error| format!("{number}: {error}"))
}

/// smtp-source numbers the recipients of a burst from 1 on; its bodies are lines of X, each with a digit, of [`BURST_LENGTH`] in all.
fn read_burst(place: &str, burst: &str, body: &[u8]) -> Result<u64, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (place, burst) = (number(place)?, number(burst)?);
    let whole = body.len() >= BURST_LENGTH && body.iter().all(|byte| b"X\r\n0123456789".contains(byte));
    if !whole {
        return Err(format!("number {place} of burst {burst} is no whole message: {} bytes", body.len()));
    }
    Ok(burst + place)
}

/// The length that smtp-source is asked for, in bytes.
pub const BURST_LENGTH: usize = 2000;

#[test]
fn a_letter_is_read_as_it_was_written_and_a_cut_one_is_not() {
    let received = "Received: from c ([127.0.0.1])\r\n\tby p (Postroom x)\r\n\twith ESMTP id 01ARZ3NDEKTSV4RRFFQ69G5FAV;\r\n\tnow\r\n";
    for size in [0, 1, 47, 48, 52, 300, 5000] {
        let letter = write(7, size);
        assert_eq!(unstuffed(&stuffed(&letter)), letter);
        let came = [received.as_bytes(), &letter].concat();
        assert_eq!(read("n7@soak.test", &came).unwrap().number, 7);
        assert!(read("n8@soak.test", &came).is_err());
        assert!(read("n7@soak.test", &came[..came.len() - 1]).is_err());
    }
}
