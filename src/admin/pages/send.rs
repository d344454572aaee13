//! `/send`: a test message through the queue.

use super::frame::{PageFrame, go_to, page, page_with};
use crate::admin::asker::Asker;
use crate::admin::extract::QueryKeys;
use crate::admin::notices::{NoticeKind, PageNotice};
use crate::admin::send::{self, LONGEST_SUBJECT, SUBJECT, SendBody, SendRefusal, SendTo};
use crate::admin::state::AdminState;
use crate::config::Settings;
use crate::policy::test_mail::default_sender;
use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// For mail of no site; no site can have that name.
const NO_SITE: &str = "(none)";
/// Report addresses that are named.
const NAMED: usize = 5;

/// What was typed; a link may have it in its query.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SendForm {
    from: String,
    /// Addresses with commas or blanks between them, or one a line.
    to: String,
    /// None: ours.
    subject: Option<String>,
    text: String,
    /// Empty: that of the listener, else that of the sender.
    site: String,
    /// Empty: none.
    listener: String,
}

#[derive(Template)]
#[template(path = "send.html")]
struct SendPage {
    frame: PageFrame,
    typed: SendForm,
    subject: String,
    longest_subject: usize,
    /// Who it is from where nobody is named.
    sender: String,
    /// Whom redirect lets through; none: it is off for mail of no site.
    redirect: Option<String>,
    sites: Vec<String>,
    listeners: Vec<String>,
    /// The key that is wrong, and why.
    refusal: Option<(Option<&'static str>, String)>,
}

impl SendPage {
    fn new(frame: PageFrame, settings: &Settings, typed: SendForm) -> SendPage {
        let sender = default_sender(settings, &settings.handling);
        SendPage {
            frame,
            subject: typed.subject.clone().unwrap_or_else(|| SUBJECT.to_owned()),
            typed,
            longest_subject: LONGEST_SUBJECT,
            sender: sender.map(|sender| sender.to_string()).unwrap_or_default(),
            redirect: who_may(settings),
            sites: settings.sites.keys().cloned().collect(),
            listeners: settings.listeners.iter().map(|listener| listener.name.clone()).collect(),
            refusal: None,
        }
    }

    /// What is wrong with a key, if that is.
    fn wrong(&self, key: &str) -> Option<&str> {
        let (of, why) = self.refusal.as_ref()?;
        (*of == Some(key)).then_some(why.as_str())
    }

    /// Why nothing was sent, where that is about no key.
    fn refused(&self) -> Option<&str> {
        self.refusal.as_ref().filter(|(key, _)| key.is_none()).map(|(_, why)| why.as_str())
    }
}

/// `GET /send`.
pub(super) async fn form(
    State(admin): State<AdminState>,
    frame: PageFrame,
    QueryKeys(typed): QueryKeys<SendForm>,
) -> Response {
    let settings = admin.settings.borrow().clone();
    page(&SendPage::new(frame, &settings, typed))
}

/// `POST /send`.
pub(super) async fn send(
    State(admin): State<AdminState>,
    frame: PageFrame,
    asker: Asker,
    Form(typed): Form<SendForm>,
) -> Response {
    match send::queue(&admin, asker, typed.body()).await {
        Ok(message) => {
            let to: Vec<&str> = message.recipients.iter().map(|one| one.address.as_str()).collect();
            let text = match to[..] {
                [one] => format!("The test message to {one} is in the queue."),
                _ => format!("The test message to {} recipients is in the queue.", to.len()),
            };
            go_to(&admin, &format!("/messages/{}", message.id), PageNotice::new(NoticeKind::Done, text))
        }
        Err(SendRefusal { key, problem }) => {
            let settings = admin.settings.borrow().clone();
            let refusal = Some((key, problem.detail));
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            page_with(status, &SendPage { refusal, ..SendPage::new(frame, &settings, typed) })
        }
    }
}

impl SendForm {
    fn body(&self) -> SendBody {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let to = self.to.split([',', ';']).flat_map(str::split_whitespace);
        SendBody {
            from: given(&self.from),
            to: SendTo::Several(to.map(str::to_owned).collect()),
            subject: self.subject.as_deref().and_then(given),
            text: given(&self.text),
            site: given(&self.site).map(|site| if site == NO_SITE { String::new() } else { site }),
            listener: given(&self.listener),
        }
    }
}

/// The addresses that a test message may go to while redirect is on.
fn who_may(settings: &Settings) -> Option<String> {
    let redirect = &settings.handling.redirect;
    let reports = redirect.enabled_addresses().map(|address| address.as_str().to_owned());
    let may: Vec<String> = reports.chain(redirect.allow.iter().map(ToString::to_string)).collect();
    let more = if may.len() > NAMED { ", …" } else { "" };
    redirect.enabled.then(|| format!("{}{more}", may[..may.len().min(NAMED)].join(", ")))
}
