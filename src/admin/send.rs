//! `POST /api/v1/send`: a test message through the queue, as mail of a client would go.

use super::asker::Asker;
use super::extract::JsonBody;
use super::json::MessageJson;
use super::json_response::JsonResponse;
use super::problem::Problem;
use super::query::QueryError;
use super::state::AdminState;
use crate::config::Settings;
use crate::mail::{Address, Class, Message, Origin, QueueId, Recipient, ReversePath};
use crate::policy::test_mail::{default_sender, kept_by_redirect, text_message};
use crate::reception::accepted::queued_fact;
use crate::reception::content::ContentReader;
use crate::reception::not_accepted::NotAccepted;
use crate::reception::staged_content::{StagedContent, permits};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};

/// What listings and events name in place of a listener. No listener can have that name.
const LISTENER: &str = "admin.send";
/// In bytes, so that its line is one that every server takes.
pub(super) const LONGEST_SUBJECT: usize = 500;
pub(super) const SUBJECT: &str = "Test message from Postroom";

/// A test message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "ann@example.com", "subject": "Does it arrive?" }))]
pub(super) struct SendBody {
    /// Who it is from; else the address of `[sender]`, else the postmaster of `default_domain`.
    #[schema(format = "email")]
    pub(super) from: Option<String>,
    /// One address or several.
    #[schema(schema_with = to_schema)]
    pub(super) to: SendTo,
    #[schema(max_length = 500)]
    pub(super) subject: Option<String>,
    pub(super) text: Option<String>,
    /// The site that it belongs to, empty: to none; else that of `listener`, else the one that `from` belongs to.
    pub(super) site: Option<String>,
    /// The listener that it is sent as if it had come in at, with its site and its class.
    pub(super) listener: Option<String>,
}

/// Who it is for.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum SendTo {
    One(String),
    Several(Vec<String>),
}

fn to_schema() -> Schema {
    let email = SchemaFormat::Custom("email".to_owned());
    let address = || ObjectBuilder::new().schema_type(Type::String).format(Some(email.clone()));
    let several = ArrayBuilder::new().items(address()).min_items(Some(1));
    Schema::OneOf(OneOfBuilder::new().item(address()).item(several).build())
}

/// Why no test message was sent.
pub(super) struct SendRefusal {
    /// The key of the body that it is about; none: the proxy takes no mail now.
    pub(super) key: Option<&'static str>,
    pub(super) problem: Problem,
}

/// A message that may be sent.
struct TestMessage {
    reverse_path: Address,
    recipients: Vec<Address>,
    site: String,
    class: Option<Class>,
    content: Vec<u8>,
}

/// Send a test message
///
/// It goes through the queue, under the modes in force. While redirect is on, addresses that are neither enabled report addresses
/// nor in `allow` are refused.
#[utoipa::path(
    post, path = "/api/v1/send", tag = "messages", request_body = SendBody,
    responses(
        (status = 200, description = "It is in the queue", body = MessageJson),
        (status = 409, description = "Redirect keeps it from that address"),
        (status = 507, description = "The queue or the disk is full"),
    )
)]
pub(super) async fn send(
    State(admin): State<AdminState>,
    asker: Asker,
    JsonBody(body): JsonBody<SendBody>,
) -> Result<JsonResponse<MessageJson>, Problem> {
    Ok(JsonResponse(queue(&admin, asker, body).await.map_err(|refusal| refusal.problem)?))
}

/// Puts a test message into the queue.
pub(super) async fn queue(
    admin: &AdminState,
    Asker(by): Asker,
    body: SendBody,
) -> Result<MessageJson, SendRefusal> {
    let stopping = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the proxy is stopping");
    let memory = permits(&admin.settings.borrow().limits);
    let permit = admin.content_memory.clone().acquire_many_owned(memory).await.map_err(stopping)?;
    let settings = admin.settings.borrow().clone();
    let received_at = admin.clock.wall();
    let test = test_message(&settings, body, received_at)?;
    let space = admin.disk_space.reserve(&settings, test.content.len() as u64).map_err(Problem::from)?;
    let id = QueueId::fresh_at(received_at);
    let reader = ContentReader::bdat(settings.limits.bare_newline, settings.limits.message_size);
    let mut content = StagedContent::new(&*admin.queue, id, reader, false, permit, space);
    content.read(&test.content).await;
    content.finish(&settings, &admin.disk_space).await.map_err(Problem::from)?;
    let now = admin.queue.now_of(&test.site);
    // Of this moment: mail must not escape a mode that was switched on since.
    let handling = admin.settings.borrow().handling_of(&test.site).cloned();
    let is_ascii = test.recipients.iter().chain([&test.reverse_path]).all(Address::is_ascii);
    let message = Message {
        smtp_utf8: !is_ascii,
        recipients: test.recipients.into_iter().map(Recipient::pending).collect(),
        size: content.size(),
        chunks: content.chunk_count(),
        header: content.header(),
        origin: Origin { listener: LISTENER.to_owned(), ..Origin::default() },
        under_mode: handling.is_some_and(|handling| handling.mode().is_some()),
        site: test.site,
        class: test.class.unwrap_or_else(|| content.class()),
        received_at,
        due: Some(now),
        life_start: now,
        ..Message::new(id, ReversePath::Address(test.reverse_path))
    };
    let mut fact = queued_fact(&message);
    fact.message += &format!(" ({by})");
    tracing::info!(queue_id = %id, "{}", fact.message);
    let stored = content.put_with(|tail| admin.queue.put(message.clone(), tail, vec![fact])).await;
    stored.map_err(Problem::from)?;
    admin.metrics.accepted(LISTENER, &message.site, message.recipients.len(), message.size);
    Ok(MessageJson::of(&message, |site, due| admin.queue.wall_of(site, due)))
}

fn test_message(settings: &Settings, body: SendBody, now: Timestamp) -> Result<TestMessage, SendRefusal> {
    let wrong =
        |key: &'static str, what: String| SendRefusal { key: Some(key), problem: QueryError(what).into() };
    let address = |key: &'static str, text: &str| {
        text.parse::<Address>().map_err(|error| {
            let what = format!("`{text}` is no address: {error}; expected one such as ann@example.com");
            wrong(key, what)
        })
    };
    let to = match body.to {
        SendTo::One(one) => vec![one],
        SendTo::Several(several) => several,
    };
    let recipients = to.iter().map(|text| address("to", text)).collect::<Result<Vec<_>, _>>()?;
    let most = settings.limits.recipients;
    if recipients.is_empty() || recipients.len() > most {
        let what = format!("`to` has {} addresses: name one, or up to {most}", recipients.len());
        return Err(wrong("to", what));
    }
    let subject = body.subject.as_deref().unwrap_or(SUBJECT);
    if subject.len() > LONGEST_SUBJECT || subject.chars().any(char::is_control) {
        return Err(wrong("subject", format!("`subject` is one line of up to {LONGEST_SUBJECT} bytes")));
    }
    let from = body.from.as_deref().map(|from| address("from", from)).transpose()?;
    let named = |name: &String| settings.listeners.iter().find(|listener| listener.name == *name);
    let listener = match &body.listener {
        Some(name) => {
            Some(named(name).ok_or_else(|| wrong("listener", format!("there is no listener `{name}`")))?)
        }
        None => None,
    };
    let of_sender =
        || from.as_ref().and_then(|from| settings.site_of_sender(from)).map(|site| site.name.clone());
    let site = body.site.or_else(|| listener.and_then(|listener| listener.site.clone())).or_else(of_sender);
    let site = site.unwrap_or_default();
    let handling =
        settings.handling_of(&site).ok_or_else(|| wrong("site", format!("there is no site `{site}`")))?;
    if let Some(why) = recipients.iter().find_map(|to| kept_by_redirect(&handling.redirect, to)) {
        let problem = Problem::new(StatusCode::CONFLICT, why);
        return Err(SendRefusal { key: Some("to"), problem });
    }
    let reverse_path = match from {
        Some(from) => from,
        None => default_sender(settings, handling).map_err(|refused| wrong("from", refused.to_string()))?,
    };
    let text = body
        .text
        .unwrap_or_else(|| format!("This is a test message from Postroom on {}.\n", settings.hostname));
    let content = text_message(&settings.hostname, &reverse_path, &recipients, subject, &text, now);
    let class = listener.and_then(|listener| listener.class);
    Ok(TestMessage { reverse_path, recipients, class, site, content })
}

impl From<Problem> for SendRefusal {
    fn from(problem: Problem) -> SendRefusal {
        SendRefusal { key: None, problem }
    }
}

impl From<NotAccepted> for Problem {
    fn from(why: NotAccepted) -> Problem {
        let status = match why {
            NotAccepted::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            NotAccepted::Nul | NotAccepted::BareNewline | NotAccepted::Loop => StatusCode::BAD_REQUEST,
            NotAccepted::TooManyMessages | NotAccepted::MinFreeSpace | NotAccepted::DiskFull => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            NotAccepted::QueueNotWritable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, format!("the message is not taken: {why}"))
    }
}
