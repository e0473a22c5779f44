//! Mutual TLS with an authority of the test's own: the certificate logs in, and nobody else gets in or is trusted.

use std::path::Path;

use baton_bus::{Bus, BusConfig, Link, Sent, TlsConfig};
use baton_harness::{Broker, Options};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio_util::sync::CancellationToken;

use crate::support::{KEY, bus, message, topology, within};

const USER: &str = "worker-one";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key, as PEM.
fn issued(
    by: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    host: Option<&str>,
) -> (String, String) {
    let hosts: Vec<String> = host.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate.pem(), key.serialize_pem())
}

async fn tls_broker(ca: &CertifiedIssuer<'static, KeyPair>) -> Broker {
    let (certificate, key) = issued(ca, "broker", Some("localhost"));
    let options = Options::default()
        .plugin("rabbitmq_auth_mechanism_ssl")
        .file("ca.pem", ca.pem())
        .file("server.pem", certificate)
        .file("server.key", key)
        .config("listeners.ssl.1 = 127.0.0.1:{tls_port}")
        .config("ssl_options.cacertfile = {dir}/ca.pem")
        .config("ssl_options.certfile = {dir}/server.pem")
        .config("ssl_options.keyfile = {dir}/server.key")
        .config("ssl_options.verify = verify_peer")
        .config("ssl_options.fail_if_no_peer_cert = true")
        .config("auth_mechanisms.1 = EXTERNAL")
        .config("auth_mechanisms.2 = PLAIN")
        .config("ssl_cert_login_from = common_name");
    Broker::own(options).await
}

fn files(dir: &Path, ca: &str, (certificate, key): (String, String)) -> TlsConfig {
    let write = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    TlsConfig {
        ca_file: write("ca.pem", ca),
        cert_file: write("client.pem", &certificate),
        key_file: write("client.key", &key),
    }
}

#[tokio::test]
async fn a_certificate_logs_in_and_only_the_own_authority_is_trusted() {
    let ca = authority("ours");
    let broker = tls_broker(&ca).await;
    let vhost = broker.vhost().await;
    vhost.user(USER, ".*", ".*", ".*").await;
    let url = format!(
        "amqps://localhost:{}/{}?auth_mechanism=external",
        broker.tls_port(),
        vhost.name()
    );
    let config = |tls: TlsConfig| BusConfig {
        addresses: vec![url.clone()],
        tls,
        confirm_timeout_ms: 1_000,
        ..BusConfig::default()
    };

    let good = tempfile::tempdir().unwrap();
    let tls = files(good.path(), &ca.pem(), issued(&ca, USER, None));
    let ours = bus(config(tls.clone())).await;
    ours.declare(&topology()).await.unwrap();
    assert_eq!(
        ours.publisher().publish(vec![message(KEY, "x")]).await,
        [Sent::Confirmed]
    );
    ours.shutdown(std::time::Duration::from_secs(5)).await;

    let stranger = authority("a stranger");
    let dir = tempfile::tempdir().unwrap();
    refused(
        "a broker of another authority",
        config(files(dir.path(), &stranger.pem(), issued(&ca, USER, None))),
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    refused(
        "a client of another authority",
        config(files(dir.path(), &ca.pem(), issued(&stranger, USER, None))),
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    refused(
        "a certificate without a user",
        config(files(dir.path(), &ca.pem(), issued(&ca, "nobody", None))),
    )
    .await;
    let none = TlsConfig {
        cert_file: None,
        key_file: None,
        ..tls
    };
    refused("no certificate at all", config(none)).await;
}

async fn refused(what: &str, config: BusConfig) {
    let bus = Bus::start(config, CancellationToken::new()).unwrap();
    let mut state = bus.state();
    let told = state.wait_for(|now| match &now.publishing {
        Link::Down { why } => why.contains("localhost"),
        Link::Up { .. } | Link::Blocked { .. } => panic!("{what}: connected all the same"),
    });
    within(what, told).await.unwrap();
}

#[test]
fn a_file_without_a_certificate_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, "not a certificate").unwrap();
    let config = BusConfig {
        tls: TlsConfig {
            ca_file: Some(path),
            ..TlsConfig::default()
        },
        ..BusConfig::default()
    };
    let said = Bus::start(config, CancellationToken::new())
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("ca.pem") && said.contains("CERTIFICATE"),
        "{said}"
    );
}
