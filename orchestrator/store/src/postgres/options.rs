//! How a database is reached: address, password, TLS, limits of time. TLS is required unless the server is on this machine or the address
//! says otherwise; certificates are always checked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::open::PostgresError;

/// After how long without a word a connection is probed, and how often: a server that vanished is noticed within half a minute.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Between two probes.
const KEEPALIVE_BETWEEN: Duration = Duration::from_secs(3);
/// Probes without an answer.
const KEEPALIVE_TRIES: u32 = 4;
/// How long what was sent may stay unanswered by the other machine's network.
const TCP_LIMIT: Duration = Duration::from_secs(30);

/// How a store in PostgreSQL is opened.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgres://user@host:5432/database`; several hosts of one cluster are tried in their order.
    pub url: String,
    /// The password, when the address does not have it.
    pub password: Option<String>,
    /// PEM bundle of the authorities to trust; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain of this process, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Who opens it. One that comes back under its name need not wait for its own lease: two that live at once must never have the same. By
    /// default process and host.
    pub owner: Option<String>,
    /// How many connections read side by side; a few more write.
    pub readers: usize,
    /// How long connecting to one host may take.
    pub connect_timeout_ms: u64,
    /// How long one statement may take before it is given up.
    pub statement_timeout_ms: u64,
    /// For how long a partition is owned without a word of its owner: at least three seconds.
    pub lease_ms: u64,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            owner: None,
            readers: 4,
            connect_timeout_ms: 5_000,
            statement_timeout_ms: 10_000,
            lease_ms: 10_000,
        }
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without address and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("readers", &self.readers)
            .field("lease_ms", &self.lease_ms)
            .finish_non_exhaustive()
    }
}

/// An address that was read: what to connect with, and how it is named to people.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: Option<MakeRustlsConnect>,
    /// Hosts and database, without user and password.
    pub(crate) place: String,
}

impl Target {
    /// Reads the address, and the files of TLS where that is used.
    ///
    /// # Errors
    /// [`PostgresError`], without the password.
    pub(crate) fn of(options: &PostgresOptions) -> Result<Self, PostgresError> {
        // the parser's own words may repeat a part of the address
        let mut config: Config = options.url.parse().map_err(|_| PostgresError::Address)?;
        if config.get_hosts().is_empty() {
            return Err(PostgresError::Address);
        }
        if let Some(password) = &options.password {
            config.password(password);
        }
        let place = place(&config);
        if config.get_ssl_mode() == SslMode::Prefer {
            let local = config.get_hosts().iter().all(is_local);
            config.ssl_mode(if local {
                SslMode::Disable
            } else {
                SslMode::Require
            });
        }
        config
            .application_name(options.owner.as_deref().unwrap_or("baton-orchestrator"))
            .connect_timeout(Duration::from_millis(options.connect_timeout_ms))
            .tcp_user_timeout(TCP_LIMIT)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE_BETWEEN)
            .keepalives_retries(KEEPALIVE_TRIES)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(client_config(options)?)),
        };
        Ok(Self { config, tls, place })
    }
}

fn place(config: &Config) -> String {
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    format!(
        "{}/{}",
        hosts.join(","),
        config.get_dbname().unwrap_or_default()
    )
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
    }
}

fn client_config(options: &PostgresOptions) -> Result<ClientConfig, PostgresError> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            roots.add_parsable_certificates(certificates(path)?);
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        let why = "no authority to trust; install ca-certificates, or set store.tls.ca_file";
        return Err(PostgresError::Tls {
            why: why.to_owned(),
        });
    }
    let unusable = |why: &dyn fmt::Display| PostgresError::Tls {
        why: why.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots);
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|error| unusable(&format!("{}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|error| unusable(&error))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(unusable(
            &"store.tls.cert_file and store.tls.key_file go together: set both or neither",
        )),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let unusable = |why: String| PostgresError::Tls {
        why: format!("{}: {why}", path.display()),
    };
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(format!("no certificate in PEM ({error})")))?;
    if found.is_empty() {
        return Err(unusable("no PEM block of a CERTIFICATE".to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, PostgresError> {
    std::fs::read(path).map_err(|source| PostgresError::File {
        path: path.to_path_buf(),
        source,
    })
}
