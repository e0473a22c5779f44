//! HTTPS against a real server: believed where the system or the configuration vouches for its authority and its name, and never otherwise.

use baton_worker::testing::UnderTest;
use baton_worker::{Automation, TaskError};
use serde_json::{Value, json};

use super::*;
use crate::automations::http_testing::{TestServer, says};
use crate::automations::tls_testing::Authority;
use crate::automations::{CheckHttp, FleetError, HttpRequest, authorities};
use crate::config::NetConfig;

/// The client of a worker that is configured so.
fn client(ca_file: Option<&std::path::Path>) -> Result<Client, FleetError> {
    let config = NetConfig {
        allow: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        ca_file: ca_file.map(std::path::Path::to_owned),
    };
    let guard = Arc::new(Guard::new(&config.allow)?);
    Ok(Client::new(guard, authorities(&config)?.into_bytes()))
}

async fn ran<A: Automation<Input: Clone>>(
    automation: A,
    input: Value,
) -> Result<A::Output, TaskError> {
    let input = serde_json::from_value(input).unwrap();
    UnderTest::new(automation, input).run().await
}

#[tokio::test]
async fn a_server_is_believed_whose_authority_the_configuration_names_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let (ours_file, other_file) = (dir.path().join("ours.pem"), dir.path().join("other.pem"));
    std::fs::write(&ours_file, ours.pem()).unwrap();
    std::fs::write(&other_file, other.pem()).unwrap();
    let server =
        TestServer::over_tls(&[says(201, "", "made")], ours.vouches_for("127.0.0.1")).await;
    let named = TestServer::over_tls(&[says(201, "", "made")], ours.vouches_for("localhost")).await;
    let post =
        |url: String| json!({ "method": "POST", "url": url, "auth": { "bearer": "hunter2" } });
    let look = |url: String| json!({ "url": url, "auth": { "bearer": "hunter2" } });

    // Nobody vouches for it; somebody else does; its name is another than the one it is asked by.
    for (ca_file, server) in [
        (None, &server),
        (Some(other_file.as_path()), &server),
        (Some(ours_file.as_path()), &named),
    ] {
        let client = client(ca_file).unwrap();
        let error = ran(HttpRequest::by(client.clone()), post(server.url("/")));
        let error = error.await.unwrap_err();
        assert_eq!(
            (error.code(), error.nothing_changed()),
            ("no-tls", true),
            "{error}"
        );
        let error = ran(CheckHttp::by(client), look(server.url("/")));
        let error = error.await.unwrap_err();
        assert!(
            error.to_string().contains("no TLS with 127.0.0.1"),
            "{error}"
        );
        assert_eq!(server.asked(), [""; 0], "it was told the token");
    }

    let client = client(Some(&ours_file)).unwrap();
    let answer = ran(HttpRequest::by(client.clone()), post(server.url("/things")));
    assert_eq!(answer.await.unwrap().text.as_deref(), Some("made"));
    let seen = ran(CheckHttp::by(client.clone()), look(server.url("/things"))).await;
    assert_eq!(seen.unwrap().status, 201);
    let by_name = format!("https://localhost:{}/", named.port);
    assert_eq!(
        ran(CheckHttp::by(client), look(by_name))
            .await
            .unwrap()
            .status,
        201
    );
    let asked = server.asked();
    assert!(
        asked[0].starts_with("POST /things HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[1].contains("authorization: Bearer hunter2\r\n"),
        "{asked:?}"
    );
}

#[test]
fn a_file_without_a_certificate_is_said_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let gone = client(Some(&path)).unwrap_err();
    assert!(gone.to_string().contains("ca.pem"), "{gone}");
    for text in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = client(Some(&path)).unwrap_err();
        assert!(matches!(error, FleetError::Authorities { .. }), "{text:?}");
    }
}
