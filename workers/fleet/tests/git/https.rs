//! git over http and https with a token, against the real `git http-backend`.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use baton_fleet::automations::Git;
use baton_fleet::config::GitConfig;

use crate::server::Server;
use crate::stage::Stage;
use crate::tls::Authority;

const TOKEN: &str = "a-token-of-the-host";

fn git(stage: &Stage, base: &str, ca_pem: &str) -> Git {
    let config = GitConfig {
        repositories: vec![format!("{base}/")],
        ..GitConfig::default()
    };
    stage.git_of(config, ca_pem)
}

#[tokio::test]
async fn a_token_opens_a_repository_over_http_and_no_other_does() {
    let stage = Stage::served();
    let server = Server::start(stage.dir.path().to_owned(), TOKEN, None).await;
    let base = format!("http://127.0.0.1:{}", server.port);
    let (git, address) = (git(&stage, &base, ""), format!("{base}/origin.git"));
    for token in [None, Some("another-token")] {
        let said = stage.refused(&git, &address, token).await;
        // What the server says of it is handed on, without it in any form.
        assert!(said.contains("no access by"), "{said}");
        assert!(!said.contains("another-token"), "{said}");
        assert!(
            !said.contains(&BASE64.encode("another-token")[..16]),
            "{said}"
        );
        assert_eq!(said.contains("token:***"), token.is_some(), "{said}");
        assert_eq!(server.let_in(), 0);
    }
    stage.both_go_over(&git, &address, Some(TOKEN)).await;
    assert!(server.let_in() > 5);
}

#[tokio::test]
async fn a_server_is_believed_whose_authority_the_configuration_names() {
    let stage = Stage::served();
    let (ours, other) = (Authority::new(), Authority::new());
    let tls = ours.vouches_for("127.0.0.1");
    let server = Server::start(stage.dir.path().to_owned(), TOKEN, Some(tls)).await;
    let base = format!("https://127.0.0.1:{}", server.port);
    let address = format!("{base}/origin.git");
    for ca_pem in [String::new(), other.pem()] {
        let git = git(&stage, &base, &ca_pem);
        let said = stage.refused(&git, &address, Some(TOKEN)).await;
        assert!(said.contains("certificate"), "{said}");
        assert_eq!(
            server.let_in(),
            0,
            "the token went to whom nobody vouches for"
        );
    }
    let git = git(&stage, &base, &ours.pem());
    stage.both_go_over(&git, &address, Some(TOKEN)).await;
    // The token stands in nothing that stays.
    let left = fs::read_to_string(stage.path("origin.git/config")).unwrap();
    assert!(!left.contains(TOKEN));
}

/// Authorities of one's own stand beside those of the system and do not replace them: what git is handed has both.
#[tokio::test]
async fn an_authority_of_ones_own_does_not_replace_those_of_the_system() {
    let stage = Stage::served();
    let ours = Authority::new();
    let git = git(&stage, "https://git.example", &ours.pem());
    let bundle = git.authorities().unwrap();
    let system = rustls_native_certs::load_native_certs().certs.len();
    let count = bundle.matches("-----BEGIN CERTIFICATE-----").count();
    assert_eq!(count, system + 1);
    assert!(bundle.contains(ours.pem().trim()));
}
