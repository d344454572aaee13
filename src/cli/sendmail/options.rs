//! The command line of `sendmail`, which is older than any parser of options: values stand attached or apart (`-fADDR`,
//! `-f ADDR`), letters may be combined (`-ti`), and callers pass much that only sendmail itself ever understood.
//!
//! As Postfix's: what it ignores is ignored here. As with GNU's getopt, options may stand behind recipients; what stands behind
//! `--` is a recipient.

use crate::mail::{DsnRequest, Notify, dsn};
use std::ffi::OsString;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum SendmailMode {
    /// Send the message on standard input.
    #[default]
    Deliver,
    /// `-bs`: a session between standard input and output and the server.
    Session,
    /// `-bp`, `mailq`: list the queue.
    Mailq,
    /// `-bi`, `-I`, `newaliases`: nothing, because aliases are in the proxy's configuration.
    NewAliases,
    /// `-q`: nothing, because the proxy tries again by itself.
    Flush,
    /// `--help`.
    Help,
}

/// What the caller said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct SendmailOptions {
    /// What is to be done.
    pub(super) mode: SendmailMode,
    /// `-t`: recipients stand in the header.
    pub(super) from_header: bool,
    /// `-i`, `-oi`: a line with a single dot does not end the message.
    pub(super) ignore_dots: bool,
    /// `-f`, `-r`: the reverse-path.
    pub(super) sender: Option<String>,
    /// `-F`.
    pub(super) full_name: Option<String>,
    /// `-R`, `-V`.
    pub(super) dsn: DsnRequest,
    /// `-N`, of every recipient.
    pub(super) notify: Notify,
    /// `-v`.
    pub(super) verbose: bool,
    /// Everything that is no option.
    pub(super) recipients: Vec<String>,
    /// Values that are ignored because they are wrong, in words.
    pub(super) warnings: Vec<String>,
}

/// Options with a value, attached or the next argument.
const WITH_VALUE: &str = "ABCDFLNORVXbefhopr";

/// Options with a value that may only be attached: `-q`, `-q15m`, `-d0-99.1`.
const WITH_ATTACHED: &str = "dq";

/// Options without a value.
const FLAGS: &str = "GIUcimnstvx";

/// Longest ENVID (RFC 3461 section 5.4).
const MAX_ENVID: usize = 100;

impl SendmailOptions {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// Why they cannot be meant.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<SendmailOptions, String> {
        let mut options = SendmailOptions::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.to_string_lossy().strip_prefix('-') {
                Some("-") => {
                    options.recipients.extend(arguments.by_ref().map(text).collect::<Result<Vec<_>, _>>()?);
                }
                Some("-help") => options.mode = SendmailMode::Help,
                Some(word) if word.starts_with('-') => {
                    return Err(format!("-{word} is no option that sendmail knows"));
                }
                Some(letters) if !letters.is_empty() => options.cluster(letters, &mut arguments)?,
                _ => options.recipients.push(text(argument)?),
            }
        }
        match options.mode {
            SendmailMode::Deliver | SendmailMode::Help => Ok(options),
            _ if options.from_header => Err("-t goes with sending a message only".to_owned()),
            // A message may stand on standard input: it is not to be thrown away with a code that says it was sent.
            _ if !options.recipients.is_empty() => {
                Err("-q, -bp, -bs, -bi and -I take no recipients; nothing was sent".to_owned())
            }
            _ => Ok(options),
        }
    }

    /// The letters behind one `-`. Values need not be UTF-8, as full names of old are not: no mail is refused for that, unless they
    /// are addresses.
    fn cluster(
        &mut self,
        letters: &str,
        arguments: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        for (at, letter) in letters.char_indices() {
            let attached = &letters[at + letter.len_utf8()..];
            if FLAGS.contains(letter) {
                self.flag(letter);
            } else if WITH_ATTACHED.contains(letter) {
                if letter == 'q' {
                    self.mode = SendmailMode::Flush;
                }
                return Ok(());
            } else if WITH_VALUE.contains(letter) {
                let value = match attached {
                    "" => {
                        let value = arguments.next().ok_or_else(|| format!("-{letter} needs a value"))?;
                        value.to_string_lossy().into_owned()
                    }
                    attached => attached.to_owned(),
                };
                if matches!(letter, 'f' | 'r') && value.contains(char::REPLACEMENT_CHARACTER) {
                    return Err(format!("-{letter} {value} is not UTF-8"));
                }
                return self.value(letter, value);
            } else {
                return Err(format!("-{letter} is no option that sendmail knows"));
            }
        }
        Ok(())
    }

    fn flag(&mut self, letter: char) {
        match letter {
            'i' => self.ignore_dots = true,
            't' => self.from_header = true,
            'v' => self.verbose = true,
            'I' => self.mode = SendmailMode::NewAliases,
            _ => {}
        }
    }

    fn value(&mut self, letter: char, value: String) -> Result<(), String> {
        match letter {
            'b' => self.mode = mode(&value)?,
            'f' | 'r' => self.sender = Some(value),
            'F' => self.full_name = Some(value),
            'o' if value.starts_with('i') => self.ignore_dots = true,
            'N' => match dsn::notify(&value) {
                None => self.warnings.push(format!(
                    "-N {value} is ignored: it is neither never nor some of success, failure, delay"
                )),
                Some(notify) => self.notify = notify,
            },
            'R' => match dsn::returns(&value) {
                None => self.warnings.push(format!("-R {value} is ignored: it is neither full nor hdrs")),
                returns => self.dsn.returns = returns,
            },
            'V' if (1..=MAX_ENVID).contains(&value.len())
                && value.bytes().all(|byte| matches!(byte, b' '..=b'~')) =>
            {
                self.dsn.envelope_id = Some(dsn::xtext(&value));
            }
            'V' => self
                .warnings
                .push("-V is ignored: an envelope id has 1 to 100 printable ASCII characters".to_owned()),
            _ => {}
        }
        Ok(())
    }
}

fn mode(value: &str) -> Result<SendmailMode, String> {
    match value {
        "m" => Ok(SendmailMode::Deliver),
        "s" => Ok(SendmailMode::Session),
        "p" => Ok(SendmailMode::Mailq),
        "i" => Ok(SendmailMode::NewAliases),
        "d" | "D" | "l" => Err(format!("-b{value}: `postroom serve` is what takes mail from the network")),
        value => Err(format!("-b{value} is not supported")),
    }
}

fn text(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|argument| format!("{} is not UTF-8", argument.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::RecipientDsn;

    fn parse(line: &str) -> Result<SendmailOptions, String> {
        SendmailOptions::parse(line.split_whitespace().map(OsString::from))
    }

    fn sending(recipients: &[&str]) -> SendmailOptions {
        let recipients = recipients.iter().map(|one| (*one).to_owned()).collect();
        SendmailOptions { recipients, ..SendmailOptions::default() }
    }

    #[test]
    fn command_lines_that_programs_use() {
        let named = |name: &str| Some(name.to_owned());
        for (line, options) in [
            // Debian's cron, anacron.
            (
                "-FCronDaemon -i -B8BITMIME -oem root",
                SendmailOptions { full_name: named("CronDaemon"), ignore_dots: true, ..sending(&["root"]) },
            ),
            ("-FAnacron -odi root", SendmailOptions { full_name: named("Anacron"), ..sending(&["root"]) }),
            // PHP's default, and with mail()'s fifth argument.
            ("-t -i", SendmailOptions { from_header: true, ignore_dots: true, ..sending(&[]) }),
            (
                "-t -i -fshop@x.test",
                SendmailOptions {
                    from_header: true,
                    ignore_dots: true,
                    sender: named("shop@x.test"),
                    ..sending(&[])
                },
            ),
            // mutt, git send-email, Rails, Mailman.
            (
                "-oem -oi -f a@x -- b@x c@x",
                SendmailOptions { ignore_dots: true, sender: named("a@x"), ..sending(&["b@x", "c@x"]) },
            ),
            (
                "-i -f a@x -- -b@x",
                SendmailOptions { ignore_dots: true, sender: named("a@x"), ..sending(&["-b@x"]) },
            ),
            (
                "-oi -odb -oQ/var/x -O DeliveryMode=b b@x",
                SendmailOptions { ignore_dots: true, ..sending(&["b@x"]) },
            ),
            ("-ti", SendmailOptions { from_header: true, ignore_dots: true, ..sending(&[]) }),
            (
                "-tifa@x",
                SendmailOptions {
                    from_header: true,
                    ignore_dots: true,
                    sender: named("a@x"),
                    ..sending(&[])
                },
            ),
            (
                "-it -f a@x",
                SendmailOptions {
                    from_header: true,
                    ignore_dots: true,
                    sender: named("a@x"),
                    ..sending(&[])
                },
            ),
            ("-bm -r a@x b@x", SendmailOptions { sender: named("a@x"), ..sending(&["b@x"]) }),
            // Behind a recipient.
            ("b@x -f a@x -v", SendmailOptions { sender: named("a@x"), verbose: true, ..sending(&["b@x"]) }),
            ("-o i -o em b@x", SendmailOptions { ignore_dots: true, ..sending(&["b@x"]) }),
            ("-h 3 -L tag -X /tmp/log -A c -C f -p ESMTP -e m -d0.1 -UGmnxcs b@x", sending(&["b@x"])),
            ("-bp", SendmailOptions { mode: SendmailMode::Mailq, ..sending(&[]) }),
            ("-b p", SendmailOptions { mode: SendmailMode::Mailq, ..sending(&[]) }),
            (
                "-bs -f a@x",
                SendmailOptions { mode: SendmailMode::Session, sender: named("a@x"), ..sending(&[]) },
            ),
            ("-bi", SendmailOptions { mode: SendmailMode::NewAliases, ..sending(&[]) }),
            ("-I", SendmailOptions { mode: SendmailMode::NewAliases, ..sending(&[]) }),
            ("-q", SendmailOptions { mode: SendmailMode::Flush, ..sending(&[]) }),
            ("-q15m -v", SendmailOptions { mode: SendmailMode::Flush, verbose: true, ..sending(&[]) }),
            ("--help", SendmailOptions { mode: SendmailMode::Help, ..sending(&[]) }),
        ] {
            assert_eq!(parse(line), Ok(options), "{line}");
        }
        assert_eq!(
            SendmailOptions::parse(["-f", "", "b@x"].map(OsString::from)),
            Ok(SendmailOptions { sender: named(""), ..sending(&["b@x"]) })
        );
    }

    #[test]
    fn what_is_asked_of_notifications() {
        let options = parse("-N failure,delay -Rhdrs -V id+1 b@x").unwrap();
        assert_eq!(RecipientDsn::notify(options.notify).parameters(), " NOTIFY=FAILURE,DELAY");
        assert_eq!(options.dsn.parameters(), " RET=HDRS ENVID=id+2B1");
        // Wrong ones cost no mail, as with Postfix.
        let options = parse("-N always -R none -V \u{fc} b@x").unwrap();
        assert_eq!(
            (options.warnings.len(), options.notify, options.dsn),
            (3, Notify::Unsaid, DsnRequest::default())
        );
        assert_eq!(options.recipients, ["b@x"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "-f",
            "b@x -F",
            "-Z b@x",
            "-bd -q15m",
            "-bv b@x",
            "-bt",
            "-t -bs",
            "-bp -t",
            "-q b@x",
            "b@x -I",
            "-bs b@x",
            "-bi b@x",
            "-bp b@x",
            "--nonsense",
            "-ü",
        ] {
            assert!(parse(line).is_err(), "{line}: {:?}", parse(line));
        }
        use std::os::unix::ffi::OsStringExt;
        let bytes = |words: &[&[u8]]| {
            SendmailOptions::parse(words.iter().map(|word| OsString::from_vec(word.to_vec())))
        };
        assert!(bytes(&[b"b\xfc@x"]).is_err());
        assert!(bytes(&[b"-f", b"b\xfc@x"]).is_err());
        assert!(bytes(&[b"-fb\xfc@x"]).is_err());
        assert_eq!(bytes(&[b"-F", b"J\xf6rg", b"-X\xff", b"b@x"]).unwrap().full_name.unwrap(), "J\u{fffd}rg");
        assert_eq!(parse("--version").unwrap_err(), "--version is no option that sendmail knows");
    }
}
