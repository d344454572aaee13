use super::Tokens;
use super::token_file::TokenFile;
use crate::clock::SystemClock;
use crate::config::default_upstream;
use crate::config::settings::{Auth, OAuth2, Upstream};
use crate::deliver::tls::Tls;
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn account(token_url: String) -> OAuth2 {
    OAuth2 {
        token_url,
        client_id: "postroom".into(),
        refresh_token: "first".to_owned().into(),
        ..OAuth2::default()
    }
}

#[test]
fn what_is_kept_of_others_outlives_a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let (file, account) = (TokenFile::at(path.clone()), account("https://token.test/".into()));
    file.keep("a", &account, &"kept-a".to_owned().into()).unwrap();
    file.keep("b", &account, &"kept-b".to_owned().into()).unwrap();
    assert_eq!(file.find("a", &account).unwrap(), Some("kept-a".to_owned().into()));
    // It cannot be read for another reason than that there is none: nothing is written over it.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(file.find("a", &account).is_err());
    assert!(file.keep("a", &account, &"new".to_owned().into()).is_err());
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(file.find("b", &account).unwrap(), Some("kept-b".to_owned().into()));
    // A damaged one makes way, and is kept.
    std::fs::write(&path, "{").unwrap();
    assert_eq!(file.find("a", &account).unwrap_err().kind(), ErrorKind::InvalidData);
    file.keep("a", &account, &"new".to_owned().into()).unwrap();
    assert_eq!(file.find("a", &account).unwrap(), Some("new".to_owned().into()));
    assert_eq!(std::fs::read_to_string(folder.path().join("tokens.json.damaged")).unwrap(), "{");
}

#[tokio::test]
async fn a_refresh_token_that_is_replaced_is_kept_though_nobody_waits_for_it_any_more() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let oauth2 = account(format!("http://{}/token", server.local_addr().unwrap()));
    let upstream = Upstream { auth: Auth::OAuth2(oauth2.clone()), ..default_upstream("up", "h", 25) };
    let folder = tempfile::tempdir().unwrap();
    let tokens = Arc::new(Tokens::kept_in(folder.path(), Arc::<SystemClock>::default()));
    let tls = Arc::<Tls>::default();
    let mut connection = tokio::select! {
        _ = tokens.get(&tls, &upstream, &oauth2, None) => panic!("the server has not answered"),
        connection = server.accept() => connection.unwrap().0,
    };
    // The attempt is over; the server answers all the same.
    let mut request = [0; 4096];
    assert!(connection.read(&mut request).await.unwrap() > 0);
    let body = r#"{"access_token": "access", "expires_in": 3600, "refresh_token": "second"}"#;
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    connection.write_all(answer.as_bytes()).await.unwrap();
    // Whoever asks next waits for that one, and asks for nothing.
    tokens.get(&tls, &upstream, &oauth2, None).await.unwrap();
    let file = TokenFile::at(folder.path().join("tokens.json"));
    assert_eq!(file.find("up", &oauth2).unwrap(), Some("second".to_owned().into()));
}
