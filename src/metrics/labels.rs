//! Labels as the library can tell them apart.
//!
//! It finds a series by one hash over all values in a row (prometheus 0.14), for which `a` and `bc` are `ab` and `c`. So
//! between two labels stands another one, whose value no name can have. It is taken out before anybody sees it.

use prometheus::proto::{LabelPair, Metric};

/// As many labels as a family has at most.
const MOST: usize = 4;
/// Names of configurations have no such character, nor have our own words.
const SEPARATOR: &str = "/";
const SEPARATORS: [&str; MOST - 1] = ["separator_1", "separator_2", "separator_3"];

/// The names of a family's labels, for the library.
pub(super) fn names<'a>(labels: &[&'a str]) -> Vec<&'a str> {
    let separators = [None].into_iter().chain(SEPARATORS.map(Some));
    labels
        .iter()
        .zip(separators)
        .flat_map(|(label, separator)| separator.into_iter().chain([*label]))
        .collect()
}

/// Their values.
pub(super) struct LabelValues<'a> {
    all: [&'a str; 2 * MOST - 1],
    length: usize,
}

impl<'a> LabelValues<'a> {
    /// In the order of the family's labels; what is beyond the most that a family has is not looked at.
    pub(super) fn new(values: &[&'a str]) -> LabelValues<'a> {
        let mut all = [SEPARATOR; 2 * MOST - 1];
        for (place, value) in values.iter().take(MOST).enumerate() {
            all[2 * place] = value;
        }
        LabelValues { all, length: (2 * values.len().min(MOST)).saturating_sub(1) }
    }

    pub(super) fn as_slice(&self) -> &[&'a str] {
        &self.all[..self.length]
    }
}

/// Takes the separators out again.
pub(super) fn take_separators_out(metric: &mut Metric) {
    let labels: Vec<LabelPair> = metric.take_label();
    metric.set_label(labels.into_iter().filter(|label| !SEPARATORS.contains(&label.name())).collect());
}
