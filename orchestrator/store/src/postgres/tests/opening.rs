//! Opening: tables of any age, two processes at once, servers that are away, sessions that are careless, TLS with a password, and words that give no secret away.

use std::net::TcpListener;
use std::path::PathBuf;

use baton_harness::{Postgres, postgres};
use tokio_postgres::error::SqlState;

use super::FreshDatabase;
use crate::postgres::open::version_known;
use crate::postgres::{
    PostgresError, PostgresOptions, PostgresReader, PostgresStore, migrate, status,
};
use crate::suite::Subject;

#[tokio::test]
async fn newer_tables_are_refused_and_left_alone() {
    let mut subject = FreshDatabase::new().await;
    let (store, before) = subject.open().await;
    subject.close(store).await;
    let client = subject.database.client().await;
    let newer = "INSERT INTO baton_schema_history (version, name, applied_on, checksum) VALUES (99, 'newer', '', '0')";
    client.batch_execute(newer).await.unwrap();
    for refused in [
        PostgresStore::open(&subject.options())
            .await
            .map(|_| ())
            .unwrap_err(),
        migrate(&subject.options()).await.map(|_| ()).unwrap_err(),
        PostgresReader::open(&subject.options())
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert!(
            matches!(refused, PostgresError::Newer { found: 99, known, .. } if known == version_known()),
            "{refused:?}"
        );
    }
    let row = client
        .query_one("SELECT epoch FROM partitions", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::try_from(before.epoch).unwrap());
}

#[tokio::test]
async fn tables_that_are_not_there_are_made_once_by_whoever_comes_first() {
    let subject = FreshDatabase::new().await;
    let options = subject.options();
    let refused = PostgresReader::open(&options)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(refused, PostgresError::Older { found: 0, .. }),
        "{refused:?}"
    );
    assert_eq!(status(&options).await.unwrap().version, 0);
    let many = (0..4).map(|_| migrate(&options));
    for migrated in futures::future::join_all(many).await {
        assert_eq!(migrated.unwrap().0.version, version_known());
    }
    assert_eq!(status(&options).await.unwrap().version, version_known());
    let client = subject.database.client().await;
    let rows = client
        .query("SELECT version FROM baton_schema_history", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), usize::try_from(version_known()).unwrap());
    PostgresReader::open(&options).await.unwrap();
}

#[tokio::test]
async fn slices_in_other_partitions_are_not_driven_here() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    subject.close(store).await;
    let client = subject.database.client().await;
    let moved = "UPDATE slices SET partition = 3 WHERE slice >= 250";
    client.batch_execute(moved).await.unwrap();
    let refused = PostgresStore::open(&subject.options())
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(refused, PostgresError::Partitions { slices: 6, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_error_says_where_and_never_the_password() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    for url in [
        format!("postgres://ann:hunter22@127.0.0.1:{port}/sagas"),
        "postgres://ann:hunter22@127.0.0.1:port/sagas".to_owned(),
        "hunter22".to_owned(),
        String::new(),
    ] {
        let options = PostgresOptions {
            url,
            password: Some("hunter22".to_owned()),
            ..PostgresOptions::default()
        };
        let refused = PostgresStore::open(&options).await.map(|_| ()).unwrap_err();
        let mut said = format!("{refused} {refused:?} {options:?}");
        let mut below = std::error::Error::source(&refused);
        while let Some(source) = below {
            said += &source.to_string();
            below = source.source();
        }
        assert!(!said.contains("hunter22"), "{said}");
        match refused {
            PostgresError::Database { place, .. } => assert_eq!(place, "127.0.0.1/sagas"),
            other => assert!(matches!(other, PostgresError::Address), "{other:?}"),
        }
    }
}

/// Whatever the database tells its sessions: what is committed lies on its disk, and a statement that takes longer than it may is ended.
#[tokio::test]
async fn a_careless_database_loses_no_commit_and_no_statement_goes_on_for_ever() {
    let subject = FreshDatabase::new().await;
    let by_hand = subject.database.client().await;
    let name = subject.database.name();
    for careless in ["synchronous_commit TO off", "statement_timeout TO 0"] {
        let sql = format!("ALTER DATABASE \"{name}\" SET {careless}");
        by_hand.batch_execute(&sql).await.unwrap();
    }
    let options = PostgresOptions {
        statement_timeout_ms: 2_000,
        ..subject.options()
    };
    let store = PostgresStore::open(&options).await.unwrap();
    let client = store.beside.get().await.unwrap();
    let asked = "SELECT current_setting('synchronous_commit')";
    let row = client.query_one(asked, &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "on");
    let ended = client.execute("SELECT pg_sleep(30)", &[]).await;
    assert_eq!(ended.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    drop(client);
    store.close().await.unwrap();
}

/// A server that knows none of it does what it did.
#[tokio::test]
async fn long_documents_are_compressed_by_what_takes_least_time() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    let client = store.beside.get().await.unwrap();
    let other = "SELECT count(*) FROM pg_settings
        WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals) AND setting <> 'lz4'";
    let row = client.query_one(other, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    drop(client);
    subject.close(store).await;
}

type Authority<'a> = rcgen::CertifiedIssuer<'a, rcgen::KeyPair>;

/// A server with a certificate; who is let in is still to be said.
fn certified(authority: &Authority<'_>) -> postgres::Options {
    let key = rcgen::KeyPair::generate().unwrap();
    let of = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = of.signed_by(&key, authority).unwrap();
    postgres::Options::default()
        .file("server.crt", certificate.pem())
        .file("server.key", key.serialize_pem())
        .config("ssl = on")
        .config("ssl_cert_file = 'server.crt'")
        .config("ssl_key_file = 'server.key'")
        .hba("host all tester 127.0.0.1/32 trust")
}

/// One that takes nobody without TLS and a password.
async fn guarded(authority: &Authority<'_>) -> Postgres {
    let options = certified(authority);
    Postgres::own(options.hba("hostssl all guarded 127.0.0.1/32 scram-sha-256")).await
}

/// One that takes nobody whom no certificate of this authority names.
async fn carded(authority: &Authority<'_>) -> Postgres {
    let options = certified(authority)
        .file("clients.crt", authority.pem())
        .config("ssl_ca_file = 'clients.crt'")
        .hba("hostssl all all 127.0.0.1/32 cert");
    Postgres::own(options).await
}

/// A client's certificate, and its key.
fn card(authority: &Authority<'_>, name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut of = rcgen::CertificateParams::default();
    of.distinguished_name = rcgen::DistinguishedName::new();
    of.distinguished_name
        .push(rcgen::DnType::CommonName, name.to_owned());
    let certificate = of.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn authority() -> Authority<'static> {
    let mut of = rcgen::CertificateParams::default();
    of.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(of, rcgen::KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test]
async fn tls_is_checked_and_a_password_goes_through_nothing_else() {
    let (ours, others) = (authority(), authority());
    let server = guarded(&ours).await;
    let database = server.database().await;
    let role = format!(
        "CREATE ROLE guarded LOGIN PASSWORD 'hunter22'; ALTER DATABASE {} OWNER TO guarded",
        database.name()
    );
    database.client().await.batch_execute(&role).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Some(path)
    };
    let options = |query: &str, ca_file, password: &str| PostgresOptions {
        url: format!(
            "postgres://guarded@localhost:{}/{}{query}",
            server.port(),
            database.name()
        ),
        password: Some(password.to_owned()),
        ca_file,
        ..PostgresOptions::default()
    };
    let trusted = file("ours.pem", ours.pem());
    let right = options("?sslmode=require", trusted.clone(), "hunter22");
    let store = PostgresStore::open(&right).await.unwrap();
    store.close().await.unwrap();
    for (wrong, why) in [
        (options("", None, "hunter22"), "no pg_hba.conf entry"),
        (
            options(
                "?sslmode=require",
                file("others.pem", others.pem()),
                "hunter22",
            ),
            "certificate",
        ),
        (
            options("?sslmode=require", trusted, "other"),
            "password authentication failed",
        ),
        (
            options(
                "?sslmode=require",
                file("empty.pem", String::new()),
                "hunter22",
            ),
            "no PEM block",
        ),
    ] {
        let refused = PostgresStore::open(&wrong).await.map(|_| ()).unwrap_err();
        let said = chain(&refused);
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_lets_in_whom_it_names_and_nobody_comes_in_without_one() {
    let (ours, others) = (authority(), authority());
    let server = carded(&ours).await;
    let database = server.database().await;
    let roles = format!(
        "CREATE ROLE carded LOGIN; CREATE ROLE other LOGIN; ALTER DATABASE {} OWNER TO carded",
        database.name()
    );
    database.client().await.batch_execute(&roles).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let ca_file = file("ours.pem", &ours.pem());
    let files = |name: &str, (certificate, key): &(String, String)| {
        let certificate = file(&format!("{name}.crt"), certificate);
        (certificate, file(&format!("{name}.key"), key))
    };
    let right = files("right", &card(&ours, "carded"));
    let foreign = files("foreign", &card(&others, "carded"));
    let options = |user: &str, card: Option<&(PathBuf, PathBuf)>| PostgresOptions {
        url: format!(
            "postgres://{user}@localhost:{}/{}?sslmode=require",
            server.port(),
            database.name()
        ),
        ca_file: Some(ca_file.clone()),
        cert_file: card.map(|(certificate, _)| certificate.clone()),
        key_file: card.map(|(_, key)| key.clone()),
        ..PostgresOptions::default()
    };
    let store = PostgresStore::open(&options("carded", Some(&right))).await;
    let store = store.unwrap();
    store.close().await.unwrap();

    let half = PostgresOptions {
        key_file: None,
        ..options("carded", Some(&right))
    };
    for (wrong, why) in [
        (
            options("carded", None),
            "connection requires a valid client certificate",
        ),
        (
            options("other", Some(&right)),
            "certificate authentication failed",
        ),
        // whoever checks it says why in words of its own
        (options("carded", Some(&foreign)), "open store at localhost"),
        (half, "store.tls.cert_file and store.tls.key_file"),
    ] {
        let refused = PostgresStore::open(&wrong).await.map(|_| ()).unwrap_err();
        let said = chain(&refused);
        assert!(said.contains(why), "{said}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let below = error.source().map(chain);
    format!("{error}: {}", below.unwrap_or_default())
}
