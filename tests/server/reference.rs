//! What docs/rules.md and docs/cases.md say of contents, written down plainly and slowly, with the whole of it at hand.

/// Where a content ends, the final dot included: at the first CRLF.CRLF, the line end of DATA counted in. None where it
/// does not end.
pub fn end(sent: &[u8]) -> Option<usize> {
    let whole = [b"\r\n", sent].concat();
    whole.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 3)
}

/// What is stored of a content that was sent, its final dot left out: a dot less on lines that begin with one, a bare LF
/// as CRLF, a bare CR as a space.
pub fn stored(sent: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    for line in lines(sent) {
        let (text, end) = line.strip_suffix(b"\r\n").map_or((line, &b""[..]), |text| (text, b"\r\n"));
        for byte in text.strip_prefix(b".").unwrap_or(text) {
            match byte {
                b'\r' => stored.push(b' '),
                b'\n' => stored.extend(b"\r\n"),
                byte => stored.push(*byte),
            }
        }
        stored.extend(end);
    }
    stored
}

/// Whether there is a CR or a LF that is not part of a CRLF.
pub fn has_bare_newline(sent: &[u8]) -> bool {
    lines(sent).iter().any(|line| {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        text.contains(&b'\r') || text.contains(&b'\n')
    })
}

/// Up to and with each CRLF.
fn lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|window| window == b"\r\n") {
        let (line, behind) = rest.split_at(at + 2);
        lines.push(line);
        rest = behind;
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The header of a content, field by field (continuation lines included), and what follows it. It ends at the first
/// line that is neither field nor continuation.
pub fn fields(content: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let lines = lines(content);
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        match (line[0], fields.last_mut()) {
            (b' ' | b'\t', Some(field)) => field.extend(*line),
            _ if name(line).is_some() => fields.push(line.to_vec()),
            _ => return (fields, lines[number..].concat()),
        }
    }
    (fields, Vec::new())
}

/// The name of the field that begins with this line, in lower case; none where it is no field.
pub fn name(line: &[u8]) -> Option<String> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?.trim_end_matches([' ', '\t']);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then(|| name.to_ascii_lowercase())
}

#[test]
fn the_reference_reads_what_the_rows_say() {
    assert_eq!(end(b"x\r\n.\r\nrest"), Some(6));
    assert_eq!(end(b".\r\n"), Some(3));
    assert_eq!(end(b"x\n.\r\n"), None);
    assert_eq!(stored(b"x\n.\ny\r\n.z\r\n..\r\na\rb\r\n.\r\r\n"), b"x\r\n.\r\ny\r\nz\r\n.\r\na b\r\n \r\n");
    assert!(has_bare_newline(b"a\r\r\n") && has_bare_newline(b"a\nb\r\n") && !has_bare_newline(b"a\r\n\r\n"));
    let (fields, body) = fields(b"To: a\r\n b\r\nX : c\r\n\r\nbody: d\r\n");
    assert_eq!((fields.len(), body.as_slice()), (2, &b"\r\nbody: d\r\n"[..]));
}
