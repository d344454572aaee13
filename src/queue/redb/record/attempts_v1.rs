//! Attempt records as they were written before they said what had been sent, frozen. Nothing here is ever changed.

use crate::mail::AttemptRecord;
use crate::mail::attempt::{AttemptAnswer, StepTimes, TlsFacts};
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct AttemptRecordV1 {
    pub(super) at: Timestamp,
    pub(super) upstream: String,
    pub(super) why: String,
    pub(super) answers: Vec<AttemptAnswer>,
    pub(super) unnamed: u32,
    pub(super) session_error: Option<String>,
    pub(super) times: StepTimes,
    pub(super) tls: Option<TlsFacts>,
    pub(super) dialogue: String,
}

impl From<AttemptRecordV1> for AttemptRecord {
    fn from(old: AttemptRecordV1) -> AttemptRecord {
        let AttemptRecordV1 { at, upstream, why, answers, unnamed, session_error, times, tls, dialogue } =
            old;
        AttemptRecord { at, upstream, why, answers, unnamed, session_error, times, tls, dialogue, sent: None }
    }
}
