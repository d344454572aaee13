//! What a request needs: the table of methods and routes. A route that does not stand here is for reading by GET, and for changes of
//! the configuration by any other method, so that nobody may do too much on a route that was forgotten.

use super::asker::Identity;
use axum::http::Method;

/// What somebody must be allowed to do for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Right {
    /// Whether it lives: for anybody, by any name.
    Health,
    /// To show who they are: for anybody.
    LogIn,
    /// To see what there is, mail among it.
    Read,
    /// To work on mail.
    Mail,
    /// To change what holds for all mail.
    Configuration,
}

/// Routes by which mail is worked on, beside those of messages.
const OF_MAIL: &[&str] = &[
    "/api/v1/send",
    "/send",
    "/api/v1/upstreams/{name}/test",
    "/queue/act",
    "/sent/resend",
    "/upstreams/{name}/test",
];
const OF_MESSAGES: &str = "/api/v1/messages";
/// Beneath it, what is done on the pages of a message.
const PAGES_OF_MESSAGES: &str = "/messages/";

/// `route` as it is written in the router; none: there is none of that path.
pub(super) fn needed(method: &Method, route: Option<&str>) -> Right {
    let is_safe = is_safe(method);
    match route {
        Some("/livez" | "/readyz") if is_safe => Right::Health,
        Some("/login") => Right::LogIn,
        // The page to log in by is made of them, too.
        Some("/assets/{name}") if is_safe => Right::LogIn,
        // For who is logged in, as everybody is who may read.
        Some("/logout") | None => Right::Read,
        Some(_) if is_safe => Right::Read,
        Some(route) if OF_MAIL.contains(&route) || route.starts_with(OF_MESSAGES) => Right::Mail,
        Some(route) if route.starts_with(PAGES_OF_MESSAGES) => Right::Mail,
        Some(_) => Right::Configuration,
    }
}

/// RFC 9110 section 9.2.1: it changes nothing.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

impl Identity {
    pub(super) fn may(&self, right: Right) -> bool {
        match self {
            Identity::Token | Identity::Session(_) => true,
            Identity::Nobody => right != Right::Configuration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_mail_is_configuration() {
        for (method, route, right) in [
            (Method::GET, Some("/livez"), Right::Health),
            (Method::HEAD, Some("/readyz"), Right::Health),
            (Method::POST, Some("/readyz"), Right::Configuration),
            (Method::GET, Some("/metrics"), Right::Read),
            (Method::POST, Some("/login"), Right::LogIn),
            (Method::GET, Some("/api/v1/messages/{id}/raw"), Right::Read),
            (Method::DELETE, Some("/api/v1/messages/{id}"), Right::Mail),
            (Method::POST, Some("/api/v1/messages/bulk"), Right::Mail),
            (Method::POST, Some("/messages/{id}/delete"), Right::Mail),
            (Method::GET, Some("/messages/{id}/delete"), Right::Read),
            (Method::POST, Some("/api/v1/upstreams/{name}/test"), Right::Mail),
            (Method::POST, Some("/queue/act"), Right::Mail),
            (Method::POST, Some("/queue/sending"), Right::Configuration),
            (Method::POST, Some("/upstreams/{name}/test"), Right::Mail),
            (Method::POST, Some("/upstreams/{name}/edit"), Right::Configuration),
            (Method::POST, Some("/api/v1/upstreams/{name}/reset"), Right::Configuration),
            (Method::PATCH, Some("/api/v1/settings"), Right::Configuration),
            (Method::POST, Some("/api/v1/reload"), Right::Configuration),
            (Method::POST, Some("/send"), Right::Mail),
            (Method::POST, Some("/api/v1/whatever/comes"), Right::Configuration),
            (Method::POST, None, Right::Read),
        ] {
            assert_eq!(needed(&method, route), right, "{method} {route:?}");
        }
    }
}
