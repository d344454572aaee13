//! A message on its way in from a file or standard input.

use std::io::{self, BufRead};

/// The longest message that is taken: more than servers take, so that an endless input ends here and not in want of memory.
pub(super) const MAX_SIZE: usize = 256 * 1024 * 1024;

/// Where a message ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Input,
    /// At a line that is a single dot, as sendmail has it; else with the input.
    Dot,
}

/// Reads a message whose lines end as the system has them, or with CRLF; they end with CRLF afterwards, the last one too.
///
/// # Errors
/// The input cannot be read; `FileTooLarge` for more than [`MAX_SIZE`].
pub(super) fn read(input: impl BufRead, end: End) -> io::Result<Vec<u8>> {
    read_up_to(MAX_SIZE, input, end)
}

fn read_up_to(limit: usize, mut input: impl BufRead, end: End) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let start = content.len();
        let room = limit.saturating_sub(start) as u64;
        let read = io::Read::take(&mut input, room + 1).read_until(b'\n', &mut content)?;
        if read as u64 > room {
            let why = format!("the message is longer than {} MiB", limit >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        if read == 0 {
            return Ok(content);
        }
        if content.ends_with(b"\n") {
            content.pop();
        }
        if content[start..].ends_with(b"\r") {
            content.pop();
        }
        if end == End::Dot && content[start..] == *b"." {
            content.truncate(start);
            return Ok(content);
        }
        content.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_files_become_lines_of_mail() {
        for end in [End::Input, End::Dot] {
            assert_eq!(read(&b"a\nb\r\n\n.c\nd"[..], end).unwrap(), b"a\r\nb\r\n\r\n.c\r\nd\r\n");
            assert_eq!(read(&b""[..], end).unwrap(), b"");
        }
    }

    #[test]
    fn a_dot_ends_the_message_only_where_it_is_asked_to() {
        for content in ["a\n.\nb\n", "a\r\n.\r\nb\n", "a\n."] {
            assert_eq!(read(content.as_bytes(), End::Dot).unwrap(), b"a\r\n", "{content:?}");
        }
        assert_eq!(read(&b"a\n.\nb\n"[..], End::Input).unwrap(), b"a\r\n.\r\nb\r\n");
    }

    #[test]
    fn an_endless_input_ends() {
        for byte in [0, b'\n'] {
            let error = read_up_to(1 << 20, io::BufReader::new(io::repeat(byte)), End::Input).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
