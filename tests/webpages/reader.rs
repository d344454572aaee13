//! Somebody at the pages of a running proxy, who is logged in.

use crate::admin::{Admin, Answer, PASSWORD};
use crate::support::free_address;
use crate::support::proxy::Proxy;

/// See the module.
pub struct Reader {
    pub admin: Admin,
    cookie: String,
    csrf_token: String,
}

impl Reader {
    /// At a proxy with this configuration, which has no `[admin]`.
    #[track_caller]
    pub fn start(config: &str) -> Reader {
        Reader::start_in(&[], config)
    }

    /// With these variables in its environment.
    #[track_caller]
    pub fn start_in(environment: &[(&str, &str)], config: &str) -> Reader {
        let address = free_address();
        let config = format!("{config}\n[admin]\nlisten = \"{address}\"\npassword = \"{PASSWORD}\"\n");
        let admin = Admin { proxy: Proxy::start_in(environment, &config), address };
        let (cookie, csrf) = admin.log_in();
        let csrf_token = csrf.split_once(": ").expect("a header field").1.to_owned();
        Reader { admin, cookie, csrf_token }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.admin.get(path, &[&self.cookie, "Accept: text/html,*/*;q=0.8"])
    }

    /// The page, which has to be there and small.
    #[track_caller]
    pub fn page(&self, path: &str) -> String {
        self.page_with(200, path)
    }

    #[track_caller]
    pub fn page_with(&self, status: u16, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(answer.body.len() <= 100 << 10, "{path} has {} bytes", answer.body.len());
        answer.text()
    }

    /// Sends a form of a page, with these fields beside the CSRF token.
    #[track_caller]
    pub fn send(&self, path: &str, fields: &str) -> Answer {
        let body = format!("csrf_token={}&{fields}", self.csrf_token);
        self.admin.form(path, &[&self.cookie, "Accept: text/html"], &body)
    }

    /// The same, and the page that it leads to.
    #[track_caller]
    pub fn act(&self, path: &str, fields: &str) -> String {
        let answer = self.send(path, fields);
        assert_eq!(answer.status, 303, "{path}: {}", answer.text());
        self.page(answer.header("location").expect("where to go"))
    }

    /// A form of somebody else's page: it does not know the token.
    #[track_caller]
    pub fn is_guarded(&self, path: &str) {
        let forged = self.admin.form(path, &[&self.cookie], "confirm=true");
        assert_eq!(forged.status, 403, "{path}: {}", forged.text());
    }

    /// A form with the cookie, and whatever else somebody made up.
    #[track_caller]
    pub fn forge(&self, path: &str, body: &str) -> Answer {
        self.admin.form(path, &[&self.cookie], body)
    }

    /// Changes settings, as a program in this session does.
    #[track_caller]
    pub fn set(&self, body: &str) {
        let token = format!("X-CSRF-Token: {}", self.csrf_token);
        let headers = [&*self.cookie, &token, "Content-Type: application/json"];
        let answer = self.admin.ask("PATCH", "/api/v1/settings", &headers, body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The proxy has ended: starts it with another configuration, and logs in.
    #[track_caller]
    pub fn start_again(&mut self, config: &str) {
        let address = self.admin.address;
        let listener = format!("[admin]\nlisten = \"{address}\"\npassword = \"{PASSWORD}\"\n");
        self.admin.proxy.configure(&format!("{config}\n{listener}"));
        self.admin.proxy.start_again();
        let (cookie, csrf) = self.admin.log_in();
        self.csrf_token = csrf.split_once(": ").expect("a header field").1.to_owned();
        self.cookie = cookie;
    }
}
