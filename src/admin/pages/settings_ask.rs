//! Whether it is meant: what a change of a mode does to the mail that waits.

use super::frame::PageFrame;
use super::modes::describe;
use super::settings_keys::SettingNow;
use super::settings_typed::TypedSettings;
use super::shown::{count, thousands};
use crate::admin::state::AdminState;
use crate::config::handling::{Handling, ReportAddress};
use askama::Template;
use serde_json::Value;

/// Asks, with all that was typed in its form.
#[derive(Template)]
#[template(path = "settings_ask.html")]
pub(super) struct ModeQuestionPage {
    frame: PageFrame,
    title: &'static str,
    /// Where the form goes to.
    action: String,
    /// Who does not mean it goes there.
    back: String,
    lines: Vec<String>,
    fields: Vec<(String, String)>,
    button: &'static str,
}

impl ModeQuestionPage {
    /// Of a form of settings.
    pub(super) fn of_form(
        frame: PageFrame,
        path: String,
        lines: Vec<String>,
        typed: TypedSettings,
    ) -> ModeQuestionPage {
        let fields = typed.0.into_iter().filter(|(name, _)| name != "csrf_token").collect();
        ModeQuestionPage {
            frame,
            title: "Change what happens to mail?",
            action: path.clone(),
            back: path,
            lines,
            fields,
            button: "Change it",
        }
    }

    /// Of changes that are to be taken back.
    pub(super) fn of_reset(
        frame: PageFrame,
        back: String,
        lines: Vec<String>,
        fields: Vec<(String, String)>,
    ) -> ModeQuestionPage {
        ModeQuestionPage {
            frame,
            title: "Take it back?",
            action: "/configuration/reset".to_owned(),
            back,
            lines,
            fields,
            button: "Take it back",
        }
    }
}

/// How much mail there is, of all sites.
pub(super) fn waiting(admin: &AdminState) -> String {
    let status = admin.queue.status();
    let (queued, deferred) = (thousands(status.queued), thousands(status.deferred));
    let (held, failed) = (thousands(status.held), thousands(status.failed));
    format!(
        "In the queue, of all sites: {} ({queued} queued, {deferred} deferred, {held} held, {failed} failed).",
        count(status.messages(), "message")
    )
}

/// What changes do: where they hold, and to how much mail; and whether anything else happens to mail then.
pub(super) fn consequences(
    admin: &AdminState,
    site: Option<&str>,
    changes: &[(&'static str, Value)],
) -> (Vec<String>, bool) {
    let settings = admin.settings.borrow().clone();
    let in_force = admin.in_force.borrow().clone();
    let mut lines = vec![waiting(admin)];
    let has_queue = settings.queue.enabled;
    let mut effects: Vec<String> = Vec::new();
    for (name, before) in settings.handlings() {
        let of_scope = match site {
            Some(site) => name == site,
            None => true,
        };
        if !of_scope {
            continue;
        }
        let mut after = before.clone();
        for (key, value) in changes {
            let now = SettingNow::of(&in_force, Some(name).filter(|name| !name.is_empty()), key);
            // A change for all mail leaves sites alone that say it themselves.
            if site.is_none() && !name.is_empty() && now.given.is_some() {
                continue;
            }
            let value = if value.is_null() { now.inherited.unwrap_or_default() } else { value.clone() };
            apply(&mut after, key, &value);
        }
        let (was, is) = (describe(before, has_queue), describe(&after, has_queue));
        if was != is {
            let whose = if name.is_empty() { "Mail of no site" } else { name };
            let whose = if settings.sites.is_empty() { "All mail" } else { whose };
            lines.push(format!("{whose}: {} → {}. {}", was.1, is.1, is.2));
        }
        for effect in of_switch(before, &after) {
            if !effects.contains(&effect) {
                effects.push(effect);
            }
        }
    }
    let changes_mail = lines.len() > 1;
    if !changes_mail {
        lines.push("Another mode comes before it: what happens to mail stays as it is.".to_owned());
    }
    lines.extend(effects);
    lines.push("What is being sent at this moment goes on to its end; the next page names it.".to_owned());
    (lines, changes_mail)
}

fn apply(handling: &mut Handling, key: &str, value: &Value) {
    let is_on = *value == true;
    match key {
        "sending.enabled" => handling.sending_off = !is_on,
        "simulate.enabled" => handling.simulate = is_on,
        "debug.enabled" => handling.debug.enabled = is_on,
        "redirect.enabled" => handling.redirect.enabled = is_on,
        "redirect.allow" => {
            let items = value.as_array().into_iter().flatten();
            handling.redirect.allow = items.filter_map(|item| item.as_str()?.parse().ok()).collect();
        }
        "redirect.report_emails" => {
            let one = |item: &Value| {
                let email = item["email"].as_str()?.parse().ok()?;
                Some(ReportAddress { email, enabled: item["enabled"] != false })
            };
            handling.redirect.report_emails =
                value.as_array().into_iter().flatten().filter_map(one).collect();
        }
        _ => {}
    }
}

/// What it does to mail that waits, in words (rules 6 and 7).
fn of_switch(before: &Handling, after: &Handling) -> Vec<String> {
    let mut effects = Vec::new();
    let mut say = |text: &str| effects.push(text.to_owned());
    match (before.sending_off, after.sending_off) {
        (false, true) => say("Mail that waits stays, and no time passes for it: nothing expires."),
        (true, false) => say("What is due is sent at once, under the modes that are in force then."),
        _ => {}
    }
    let (was, is) = (before.mode(), after.mode());
    if was != is {
        match is {
            None => say(
                "Mail that was accepted, held or attempted under the mode that ends is held: it reaches nobody before it is released \
                 from the queue. New mail goes to its recipients.",
            ),
            Some(crate::mail::Mode::Redirect) if after.redirect.enabled_addresses().next().is_none() => {
                say("Mail that waits is caught, too; it is held until a report address is enabled.");
            }
            Some(crate::mail::Mode::Redirect) => say(
                "Mail that waits is caught, too: from its next attempt on it goes to the report addresses. When redirect ends, what \
                 is left of it is held.",
            ),
            Some(crate::mail::Mode::Debug) => say(
                "Mail that waits is caught, too: it counts as delivered and reaches nobody, also not later.",
            ),
            Some(crate::mail::Mode::Simulate) => say(
                "Mail that waits is caught, too: each attempt fails and it is deferred. When simulate ends, it is held.",
            ),
        }
    }
    effects
}
