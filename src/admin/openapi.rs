//! `GET /api/v1/openapi.json`: what the routes take and answer, as OpenAPI 3.1, made of what each handler says of itself.
//!
//! Here is added what is the same everywhere: the errors of reading a request, and who may ask.

use super::json_response::JsonResponse;
use super::problem::Problem;
use axum::Extension;
use std::sync::Arc;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

const PROBLEM: &str = "application/problem+json";
/// What may be asked by who has not logged in.
const OPEN: &[&str] = &["/livez", "/readyz"];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Postroom",
        description = "What verbs and pages do, for programs. The routes are served on the control socket, which its owner alone may \
                       open, and on the admin listener, where a session or a token says who asks. Times are RFC 3339 in UTC."
    ),
    components(schemas(Problem)),
    modifiers(&WhoMayAsk),
    tags(
        (name = "messages", description = "Mail in the queue, and sent mail that is archived"),
        (name = "upstreams", description = "Servers and folders that mail goes to"),
        (name = "settings", description = "Modes, redirect, sender, log_emails and archive, also of sites"),
        (name = "events", description = "What happened"),
        (name = "service", description = "The proxy itself"),
    )
)]
struct Head;

struct WhoMayAsk;

impl Modify for WhoMayAsk {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let token =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("`[admin] token`")).build();
        let cookie = ApiKeyValue::with_description(
            "postroom_session",
            "What a login with the password of `[admin]` gives",
        );
        let schemes = &mut api.components.get_or_insert_default().security_schemes;
        schemes.insert("token".to_owned(), RefOr::T(SecurityScheme::Http(token)));
        schemes.insert("session".to_owned(), RefOr::T(SecurityScheme::ApiKey(ApiKey::Cookie(cookie))));
    }
}

/// The document, ready to be sent.
#[derive(Clone)]
pub(super) struct ApiDocument(Arc<utoipa::openapi::OpenApi>);

impl ApiDocument {
    pub(super) fn new(api: utoipa::openapi::OpenApi) -> ApiDocument {
        ApiDocument(Arc::new(api))
    }
}

/// What stands in front of the routes.
pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// Show this document
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1", body = BTreeMap<String, serde_json::Value>))
)]
pub(super) async fn show(
    Extension(document): Extension<ApiDocument>,
) -> JsonResponse<Arc<utoipa::openapi::OpenApi>> {
    JsonResponse(document.0)
}

/// With what is the same everywhere.
pub(super) fn document(mut api: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut api.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                let words = path.trim_start_matches("/api/v1").split(['/', '{', '}', '.', '-']);
                let words: Vec<&str> =
                    [method].into_iter().chain(words).filter(|word| !word.is_empty()).collect();
                operation.operation_id = Some(words.join("_"));
                complete(operation, OPEN.contains(&path.as_str()));
            }
        }
    }
    api
}

fn complete(operation: &mut Operation, is_open: bool) {
    let has = |place: &ParameterIn| {
        let parameters = operation.parameters.as_deref().unwrap_or_default();
        parameters.iter().any(|one| matches!(one, RefOr::T(one) if one.parameter_in == *place))
    };
    let (names, reads_body) = (has(&ParameterIn::Path), operation.request_body.is_some());
    let reads = names || reads_body || has(&ParameterIn::Query);
    let mut errors = vec![("500", "A mistake of Postroom, or a damaged message: the log says more", true)];
    errors.push(("400", "It is not said as it should be: `detail` says what would be right", reads));
    errors.push(("404", "There is no such message or upstream", names));
    errors.push(("413", "The body is too large", reads_body));
    errors.push(("415", "The body is not JSON, or does not say so", reads_body));
    errors.push(("503", "The proxy is stopping, or the queue cannot be read or written", !is_open));
    if !is_open {
        let either =
            ["session", "token"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new()));
        operation.security = Some(either.into());
        errors.push(("401", "Nobody has logged in (on the admin listener)", true));
        errors.push(("403", "Not to be done so (on the admin listener)", true));
        errors.push(("429", "Too much at a time (on the admin listener)", true));
    }
    let responses = &mut operation.responses.responses;
    for (status, description, _) in errors.into_iter().filter(|(.., applies)| *applies) {
        let response = || RefOr::T(ResponseBuilder::new().description(description).build());
        responses.entry(status.to_owned()).or_insert_with(response);
    }
    let of_errors = responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
    for response in of_errors.map(|(_, response)| response) {
        if let RefOr::T(response) = response {
            is_problem(response);
        }
    }
}

fn is_problem(response: &mut Response) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.entry(PROBLEM.to_owned()).or_insert(RefOr::T(content));
}
