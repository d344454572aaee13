//! An authorization server of OAuth 2: issues tokens that are told apart, replaces refresh tokens, withdraws and refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

/// A running server, on loopback, in clear text.
pub struct TokenServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What it knows, and how it answers.
#[derive(Default)]
pub struct State {
    /// The forms that asked for a token, as they came.
    pub requests: Vec<String>,
    /// Access tokens that are good.
    pub valid: Vec<String>,
    /// The refresh token that is taken; empty: any.
    pub refresh_token: String,
    /// Gives another refresh token with each access token.
    pub replaces: bool,
    /// In place of a token: the error that is answered.
    pub refuses: Option<&'static str>,
    /// Seconds that a token lives.
    pub life: u64,
    /// It waits so long before it issues one.
    pub delay: std::time::Duration,
}

impl TokenServer {
    /// Tokens live for an hour.
    pub fn start() -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State { life: 3600, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        TokenServer { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Where servers ask whether a token is good (RFC 7662).
    pub fn introspection(&self) -> String {
        format!("http://{}/introspect", self.address)
    }

    /// What it knows, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Keys of an upstream that gets its tokens here.
    pub fn keys(&self, refresh_token: &str) -> String {
        format!(
            "auth = \"oauth2\"\nusername = \"app\"\noauth2 = {{ token_url = \"{}\", client_id = \"postroom\", \
             client_secret = \"cl1ent\", refresh_token = \"{refresh_token}\", scope = \"send mail\" }}\n",
            self.url()
        )
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(&stream);
    let mut lines = reader.by_ref().lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let header: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let length = header.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut form = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut form).is_err() {
        return;
    }
    let form = String::from_utf8_lossy(&form).into_owned();
    let (status, body) =
        if first.contains("/introspect") { introspect(&form, state) } else { issue(&form, state) };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = (&stream).write_all(answer.as_bytes());
}

fn field(form: &str, name: &str) -> String {
    let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    percent_encoding::percent_decode_str(value.unwrap_or_default()).decode_utf8_lossy().into_owned()
}

fn introspect(form: &str, state: &Mutex<State>) -> (&'static str, String) {
    let token = field(form, "token");
    let active = state.lock().expect("nobody panics with it").valid.contains(&token);
    ("200 OK", format!("{{\"active\": {active}, \"username\": \"app\"}}"))
}

fn issue(form: &str, state: &Mutex<State>) -> (&'static str, String) {
    let delay = {
        let mut state = state.lock().expect("nobody panics with it");
        state.requests.push(form.to_owned());
        state.delay
    };
    std::thread::sleep(delay);
    let mut state = state.lock().expect("nobody panics with it");
    let given = field(form, "refresh_token");
    let is_wrong = !state.refresh_token.is_empty() && state.refresh_token != given;
    if let Some(error) = state.refuses.or(is_wrong.then_some("invalid_grant")) {
        let body = format!("{{\"error\": \"{error}\", \"error_description\": \"not {given}\"}}");
        return ("400 Bad Request", body);
    }
    let number = state.requests.len();
    let token = format!("access-{number}");
    state.valid.push(token.clone());
    let mut replaced = String::new();
    if state.replaces {
        state.refresh_token = format!("refresh-{number}");
        replaced = format!(", \"refresh_token\": \"{}\"", state.refresh_token);
    }
    let life = state.life;
    let body = format!(
        "{{\"access_token\": \"{token}\", \"token_type\": \"Bearer\", \"expires_in\": {life}{replaced}}}"
    );
    ("200 OK", body)
}
