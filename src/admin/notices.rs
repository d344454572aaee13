//! What an act of a page has done, kept until the page that the browser is sent to shows it.

use super::sessions::random_text;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Beyond, the oldest is forgotten: nobody came for it.
const MOST: usize = 200;

/// How a notice is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoticeKind {
    Done,
    Warning,
    Refused,
}

impl NoticeKind {
    /// For the style sheet.
    pub(super) fn word(self) -> &'static str {
        match self {
            NoticeKind::Done => "done",
            NoticeKind::Warning => "warning",
            NoticeKind::Refused => "refused",
        }
    }
}

/// A sentence for the next page, and what belongs to it, line by line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PageNotice {
    pub(super) kind: NoticeKind,
    pub(super) text: String,
    pub(super) lines: Vec<String>,
}

impl PageNotice {
    pub(super) fn new(kind: NoticeKind, text: impl ToString) -> PageNotice {
        PageNotice { kind, text: text.to_string(), lines: Vec::new() }
    }
}

/// Those that nobody has seen yet.
#[derive(Default)]
pub(super) struct Notices(Mutex<VecDeque<(String, PageNotice)>>);

impl Notices {
    /// Keeps it: the name that [`Notices::take`] knows it by. Nobody can guess one, so that a link cannot make a page say something.
    pub(super) fn keep(&self, notice: PageNotice) -> Option<String> {
        let name = random_text()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((name.clone(), notice));
        Some(name)
    }

    /// The notice of that name, once.
    pub(super) fn take(&self, name: &str) -> Option<PageNotice> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| known == name)?;
        kept.remove(at).map(|(_, notice)| notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_shown_once_and_the_oldest_are_forgotten() {
        let notices = Notices::default();
        let keep = |text: String| notices.keep(PageNotice::new(NoticeKind::Done, text)).unwrap();
        let first = keep("first".into());
        let second = keep("second".into());
        assert_eq!(notices.take(&second).map(|notice| notice.text), Some("second".into()));
        assert_eq!(notices.take(&second), None);
        (0..MOST).for_each(|number| drop(keep(number.to_string())));
        assert_eq!(notices.take(&first), None);
    }
}
