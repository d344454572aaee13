//! Reads the filter language (docs/rules.md#filters): terms with blanks between them, all of which have to hold. What cannot
//! be read is never taken for something else, since a filter says what is deleted.

use super::filter::{Filter, Needle, Term, Test};
use crate::mail::printable;
use crate::mail::{Class, MessageState};
use bytesize::ByteSize;
use jiff::civil::DateTime;
use jiff::{Timestamp, Zoned};
use std::ops::Range;
use std::time::Duration;

/// The words that may stand before a colon.
const KEYS: [&str; 10] =
    ["state", "from", "to", "subject", "site", "upstream", "class", "older", "newer", "larger"];

/// What is wrong with a filter: where, why, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the filter cannot be read at character {}: {what}", self.column())]
pub struct FilterError {
    expression: String,
    /// Bytes of the expression.
    at: Range<usize>,
    what: String,
}

impl FilterError {
    /// The place in the expression where it begins, in characters from 1 on.
    pub fn column(&self) -> usize {
        self.expression[..self.at.start].chars().count() + 1
    }

    /// What is wrong there, and what would be right.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// For people: the error, then the expression with carets under what is wrong.
    pub fn pointed(&self) -> String {
        let carets = self.expression[self.at.clone()].chars().count().max(1);
        let line = printable(&self.expression);
        format!("{self}\n\n    {line}\n    {:blanks$}{}", "", "^".repeat(carets), blanks = self.column() - 1)
    }
}

impl Filter {
    /// Reads an expression. `now` is what ages are counted from, and the time zone in which days begin.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(expression: &str, now: &Zoned) -> Result<Filter, FilterError> {
        let words = Words { expression, at: 0 };
        let terms = words.map(|word| {
            let fail = |(at, what)| FilterError { expression: expression.to_owned(), at, what };
            word.and_then(|word| term(expression, &word, now)).map_err(fail)
        });
        Ok(Filter::of_terms(terms.collect::<Result<_, _>>()?))
    }
}

/// Where it is wrong, and how.
type Wrong = (Range<usize>, String);

/// One word of an expression: what stands between blanks, quotes read.
struct Word {
    negated: bool,
    /// What stands before the colon, if it is made of letters alone.
    key: Option<Range<usize>>,
    /// What is behind the colon, or all of it.
    value: String,
    value_at: Range<usize>,
    /// There were quotes in the value.
    quoted: bool,
    /// What stands between the commas outside of quotes.
    parts: Vec<String>,
    at: Range<usize>,
}

struct Words<'a> {
    expression: &'a str,
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Result<Word, Wrong>;

    fn next(&mut self) -> Option<Result<Word, Wrong>> {
        let rest = &self.expression[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        if start == self.expression.len() {
            return None;
        }
        let word = self.word(start);
        // Behind an error nothing is read.
        self.at = word.as_ref().map_or(self.expression.len(), |word| word.at.end);
        Some(word)
    }
}

impl Words<'_> {
    fn word(&self, start: usize) -> Result<Word, Wrong> {
        let negated = self.expression[start..].starts_with('-');
        let body = start + usize::from(negated);
        let text = &self.expression[body..];
        let letters = text.len() - text.trim_start_matches(|one: char| one.is_ascii_alphabetic()).len();
        let key = (letters > 0 && text[letters..].starts_with(':')).then_some(body..body + letters);
        let value_start = key.as_ref().map_or(body, |key| key.end + 1);
        let (parts, quoted, end) = self.parts(value_start)?;
        let value = parts.join(",");
        Ok(Word { negated, key, value, value_at: value_start..end, quoted, parts, at: start..end })
    }

    /// Up to a blank outside of quotes: what stands between the commas. In quotes `\"` is a quote and `\\` a backslash.
    fn parts(&self, start: usize) -> Result<(Vec<String>, bool, usize), Wrong> {
        let (mut parts, mut value, mut quoted, mut open) = (Vec::new(), String::new(), false, None);
        let mut characters = self.expression[start..].char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    quoted = true;
                    open = if open.is_none() { Some(start + at) } else { None };
                }
                '\\' if open.is_some()
                    && characters.peek().is_some_and(|(_, one)| matches!(one, '"' | '\\')) =>
                {
                    value.extend(characters.next().map(|(_, escaped)| escaped));
                }
                blank if blank.is_whitespace() && open.is_none() => {
                    parts.push(value);
                    return Ok((parts, quoted, start + at));
                }
                ',' if open.is_none() => parts.push(std::mem::take(&mut value)),
                other => value.push(other),
            }
        }
        match open {
            Some(at) => {
                Err((at..at + 1, "this quote is not closed; a quote inside of quotes is \\\"".to_owned()))
            }
            None => {
                parts.push(value);
                Ok((parts, quoted, self.expression.len()))
            }
        }
    }
}

fn term(expression: &str, word: &Word, now: &Zoned) -> Result<Term, Wrong> {
    let test = match &word.key {
        None => Test::Anywhere(text(word)?),
        Some(key) => {
            let name = expression[key.clone()].to_ascii_lowercase();
            if word.value.is_empty() && !word.quoted {
                let example = example(&name).map(|example| format!(", such as {example}"));
                let known = example.ok_or_else(|| unknown_key(&name, word, key))?;
                let what =
                    format!("nothing stands behind `{name}:`; a value has to follow without a blank{known}");
                return Err((word.at.clone(), what));
            }
            keyed(&name, word, key, now)?
        }
    };
    Ok(Term { negated: word.negated, test })
}

fn text(word: &Word) -> Result<Needle, Wrong> {
    let wrong = |what: &str| Err((word.at.clone(), what.to_owned()));
    match word.value.as_str() {
        "" if word.quoted => wrong("there is nothing between these quotes to look for"),
        "" => wrong("nothing stands behind `-`; what is not to be follows without a blank: -state:failed"),
        dash if dash.starts_with('-') && word.negated && !word.quoted => {
            wrong("one `-` says not; a text that begins with `-` goes into quotes")
        }
        "OR" | "AND" | "NOT" if !word.quoted => wrong(
            "all terms have to hold, `-` before one says not, and commas say one of several (state:failed,held); \
             to look for the word itself put it into quotes",
        ),
        text => Ok(Needle::new(text)),
    }
}

fn keyed(name: &str, word: &Word, key: &Range<usize>, now: &Zoned) -> Result<Test, Wrong> {
    let wrong = |what: String| (word.value_at.clone(), what);
    Ok(match name {
        "state" => Test::State(one_of(word, &STATES, "a state")?),
        "class" => Test::Class(one_of(word, &CLASSES, "a class")?),
        "site" => Test::Site(names(word)?),
        "upstream" => Test::Upstream(names(word)?),
        "from" => Test::From(addresses(word)?),
        "to" if matches!(word.value.as_str(), "" | "<>") => {
            return Err(wrong("every message is to somebody".to_owned()));
        }
        "to" => Test::To(addresses(word)?),
        "subject" => Test::Subject(Needle::new(&word.value)),
        "older" => Test::Older(parse_time(&word.value, now).map_err(wrong)?),
        "newer" => Test::Newer(parse_time(&word.value, now).map_err(wrong)?),
        "larger" => Test::Larger(size(&word.value).map_err(wrong)?),
        _ => return Err(unknown_key(name, word, key)),
    })
}

fn example(name: &str) -> Option<&'static str> {
    Some(match name {
        "state" => "state:failed,held",
        "from" => "from:shop@example.com, or from:\"\" for the null reverse-path",
        "to" => "to:@example.com",
        "subject" => "subject:\"your order\", or subject:\"\" for none",
        "site" => "site:intranet, or site:\"\" for mail of no site",
        "upstream" => "upstream:primary, or upstream:\"\" where none was asked yet",
        "class" => "class:bulk",
        "older" => "older:2d or older:2026-11-20",
        "newer" => "newer:2h or newer:2026-11-20",
        "larger" => "larger:1MiB",
        _ => return None,
    })
}

fn unknown_key(name: &str, word: &Word, key: &Range<usize>) -> Wrong {
    let nearest = KEYS.into_iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let right = match nearest {
        Some((distance, known)) if distance <= 2 && name.len() > 2 => format!("did you mean `{known}:`?"),
        _ => format!("there are {}", KEYS.map(|key| format!("{key}:")).join(" ")),
    };
    let text = format!("{name}:{}", word.value);
    (
        key.clone(),
        format!("`{name}:` is not known; {right} (to look for this text put it into quotes: \"{text}\")"),
    )
}

const STATES: [(&str, MessageState); 5] = [
    ("queued", MessageState::Queued),
    ("deferred", MessageState::Deferred),
    ("held", MessageState::Held),
    ("failed", MessageState::Failed),
    ("sent", MessageState::Sent),
];

const CLASSES: [(&str, Class); 3] =
    [("urgent", Class::Urgent), ("normal", Class::Normal), ("bulk", Class::Bulk)];

/// Words with commas between them.
fn one_of<T: Copy>(word: &Word, known: &[(&str, T)], kind: &str) -> Result<Vec<T>, Wrong> {
    let find = |one: &str| {
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(one));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            (
                word.value_at.clone(),
                format!("`{one}` is not {kind}: {}; several with commas", names.join(", ")),
            )
        })
    };
    word.value.split(',').map(str::trim).map(find).collect()
}

/// Names with commas between them. An empty one, alone and in quotes, is none; among others it was hardly meant.
fn names(word: &Word) -> Result<Vec<String>, Wrong> {
    let names: Vec<String> = word.value.split(',').map(|name| name.trim().to_owned()).collect();
    if !word.value.is_empty() && names.iter().any(String::is_empty) {
        return Err((word.value_at.clone(), "there is no name before or behind a comma".to_owned()));
    }
    Ok(names)
}

/// Texts of addresses with commas between them. The angle brackets that an address may be written in are no part of it.
fn addresses(word: &Word) -> Result<Vec<Needle>, Wrong> {
    let bare = |text: &str| {
        let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        inner.unwrap_or(text).to_owned()
    };
    if word.parts.len() > 1 && word.parts.iter().any(String::is_empty) {
        return Err((word.value_at.clone(), "there is no address before or behind a comma".to_owned()));
    }
    Ok(word.parts.iter().map(|part| Needle::new(&bare(part))).collect())
}

/// An age before `now`, a day or a time in its time zone, or a time with its own offset or zone.
///
/// # Errors
/// What would be one.
pub fn parse_time(value: &str, now: &Zoned) -> Result<Timestamp, String> {
    if let Some(time) = age(value) {
        return Ok(now.timestamp().checked_sub(time).unwrap_or(Timestamp::MIN));
    }
    if let Ok(time) = value.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = value.parse::<Zoned>() {
        return Ok(time.timestamp());
    }
    // A day alone is its midnight. What the reader would drop, such as a zone that it does not know, is refused.
    let is_bare = value.bytes().skip("2026-11-20".len()).all(|byte| !b"+-[Zz".contains(&byte));
    if let Some(time) = value.parse::<DateTime>().ok().filter(|_| is_bare)
        && let Ok(time) = time.to_zoned(now.time_zone().clone())
    {
        return Ok(time.timestamp());
    }
    let kinds = "an age (90s, 5m, 2h, 2d; m are minutes), a day (2026-11-20) or a time (2026-11-20T14:00, or with its offset \
                 2026-11-20T14:00:00Z)";
    Err(format!("`{value}` is no time: {kinds}"))
}

/// A number alone is no age, so that `older:30` is not taken for seconds by one and for days by the other.
fn age(value: &str) -> Option<Duration> {
    humantime::parse_duration(value).ok().filter(|_| value.ends_with(|last: char| last.is_ascii_alphabetic()))
}

fn size(value: &str) -> Result<u64, String> {
    let size = value.parse::<ByteSize>().map(|size| size.as_u64());
    size.map_err(|_| format!("`{value}` is no size: 500000 (bytes), 500kB, 1MiB"))
}
