//! Messages to send: the small ones are files in tests/samples, the big ones are made here.

/// A file of tests/samples with the line ends of the wire, whatever a checkout made of them.
pub fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut wire = Vec::with_capacity(bytes.len() + 200);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        wire.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// The fields that a complete message has, so that nothing but `Received:` is added to it.
fn header(subject: &str) -> String {
    format!(
        "Date: Fri, 20 Nov 2026 14:03:21 +0100\r\nMessage-ID: <{}@client.test>\r\nFrom: Ann <ann@client.test>\r\n\
         To: Bob <bob@upstream.test>\r\nSubject: {subject}\r\n",
        subject.replace(' ', "-")
    )
}

/// A multipart message whose attachment has `bytes` bytes before base64.
pub fn with_attachment(bytes: usize) -> Vec<u8> {
    let mut message = header("a large attachment").into_bytes();
    message.extend_from_slice(
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_part\"\r\n\r\n--=_part\r\n\
          Content-Type: text/plain; charset=us-ascii\r\n\r\nSee the attachment.\r\n--=_part\r\n\
          Content-Type: application/octet-stream; name=\"data.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n",
    );
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = fastrand::Rng::with_seed(4711);
    for _ in 0..bytes.div_ceil(57) {
        message.extend((0..76).map(|_| ALPHABET[random.usize(..64)]));
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"--=_part--\r\n");
    message
}

/// Lines of 100 kB, some of them starting with a dot.
pub fn long_lines() -> Vec<u8> {
    let mut message = header("long lines").into_bytes();
    message.extend_from_slice(b"\r\n");
    for start in ["a", ".", "..", "b"] {
        message.extend_from_slice(start.as_bytes());
        message.extend(std::iter::repeat_n(b'x', 100_000));
        message.extend_from_slice(b".\r\n");
    }
    message
}

/// Header and one line without end, as far as a client may leave it out.
pub fn one_line() -> Vec<u8> {
    format!("{}\r\njust one line\r\n", header("one line")).into_bytes()
}
