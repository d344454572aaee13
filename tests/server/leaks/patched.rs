//! Redirect is switched over HTTP, which `admin.toml` keeps, over a kill, too; then it is taken back.

use super::Run;
use super::judgement::Era;
use super::settings::{SITES, Settings};
use crate::server::changes::ask;
use serde_json::{Value, json};
use std::time::Instant;

impl Run {
    pub(super) fn patch(&mut self) {
        self.wait_for_reload();
        let file = self.record.eras.last().expect("the first one").settings.clone();
        let (new, body) = switched(&file, &mut self.dice);
        self.numbers.in_transaction += usize::from(self.gate());
        self.begin(new.clone());
        let (status, answer) = ask(&self.proxy, "PATCH", "/api/v1/settings", &body);
        assert_eq!(status, 200, "{body}: {answer}");
        self.in_force();
        self.book.open();
        self.numbers.patches += 1;
        self.send_some();
        if self.dice.u8(0..3) == 0 {
            self.gate();
            self.proxy.kill();
            self.numbers.kills += 1;
            self.note_the_end();
            self.begin(new);
            self.proxy.start_again();
        }
        self.numbers.in_transaction += usize::from(self.gate());
        self.begin(file);
        self.proxy.command(&["reset", "--all", "--yes"]);
        self.in_force();
        self.book.open();
    }

    /// From now on this may be in force.
    fn begin(&mut self, settings: Settings) {
        self.record.eras.push(Era { settings, from: Instant::now(), to: None });
    }
}

/// Redirect of all mail, or of a site, is the other way round: in the model, and as it is asked for.
fn switched(settings: &Settings, dice: &mut fastrand::Rng) -> (Settings, Value) {
    let mut new = settings.clone();
    let flip = |key: &mut Option<bool>| {
        let now = *key != Some(true);
        *key = Some(now);
        json!({ "redirect": { "enabled": now } })
    };
    let site = new.sites.iter_mut().enumerate().find(|_| dice.bool());
    let body = match site {
        Some((place, Some(layer))) => json!({ "site": { SITES[place]: flip(&mut layer.redirect) } }),
        _ => flip(&mut new.global.redirect),
    };
    (new, body)
}
