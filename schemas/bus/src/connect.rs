//! Opens one connection to one of the addresses: in shuffled order, each within a time limit, with TLS where asked for.
//!
//! The socket is opened here and not by the client, for two reasons: so that a private authority is the only one trusted
//! (the client would add it to those of the system, and fail where the system has none), and so that a connection that
//! answers nothing any more can be cut.

use std::{
    fmt::Write as _,
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_rs::Tokio;
use lapin::{
    Connection, ConnectionProperties,
    tcp::{AsyncTcpStream, RustlsConnector, RustlsConnectorConfig},
    uri::{AMQPScheme, AMQPUri},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    backoff::chance,
    config::{Checked, TlsConfig, shown_uri},
    error::BusError,
    nesting::{Guarded, Transport, guarded_runtime},
    state::Use,
};

/// Time for one address, name look-up to open AMQP connection. A broker under load needs seconds, a dead host would
/// take minutes by itself.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A second handle on the socket of a connection, to cut it.
#[derive(Default)]
pub(crate) struct Socket(OnceLock<TcpStream>);

impl Socket {
    /// Ends the connection from below, when it no longer answers: everybody on it sees an error at once.
    pub(crate) fn cut(&self) {
        if let Some(socket) = self.0.get() {
            // fails only when it is closed already
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A connection as it was made.
pub(crate) struct Made {
    pub(crate) connection: Connection,
    pub(crate) socket: Arc<Socket>,
    /// The address, without the password.
    pub(crate) address: String,
}

/// Connects to the first address that answers; otherwise says what each of them met.
pub(crate) async fn connect(checked: &Checked, what_for: Use) -> Result<Made, String> {
    let mut met = Vec::new();
    for uri in shuffled(&checked.uris) {
        let address = shown_uri(&uri);
        match connect_one(uri, checked, what_for).await {
            Ok((connection, socket)) => {
                return Ok(Made {
                    connection,
                    socket,
                    address,
                });
            }
            Err(why) => met.push(format!("{address}: {why}")),
        }
    }
    // in the same order whichever was tried first: the same trouble is said once
    met.sort();
    Err(met.join("; "))
}

async fn connect_one(
    uri: AMQPUri,
    checked: &Checked,
    what_for: Use,
) -> Result<(Connection, Arc<Socket>), String> {
    let config = &checked.config;
    let name = format!("baton/{}/{}/{what_for}", config.role, config.instance);
    // lapin's own recovery stays off: it may go silent, and it replays only part of what was there
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = guarded_runtime();
    let tls = match uri.scheme {
        AMQPScheme::AMQP => None,
        AMQPScheme::AMQPS => Some(tls_connector(&config.tls).map_err(|error| chain(&error))?),
    };
    let socket = Arc::new(Socket::default());
    let kept = socket.clone();
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, _| {
            let sockets = Tokio::current();
            let host = uri.authority.host.clone();
            let addresses = tokio::net::lookup_host((host.as_str(), uri.authority.port)).await?;
            let addresses: Vec<_> = addresses.collect();
            let stream = Transport::connect(&sockets, addresses).await?;
            if let AsyncTcpStream::Plain(plain) = &stream {
                let second = plain.get_ref().as_fd().try_clone_to_owned()?;
                let _ = kept.0.set(TcpStream::from(second));
            }
            let stream = match &tls {
                Some(tls) => stream.into_rustls(tls, &host).await?,
                None => stream,
            };
            Ok(AsyncTcpStream::Plain(Guarded::new(stream)))
        },
        properties,
    );
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(connection)) => Ok((connection, socket)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => {
            socket.cut();
            Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs()))
        }
    }
}

fn shuffled(uris: &[AMQPUri]) -> Vec<AMQPUri> {
    let mut order = uris.to_vec();
    for last in (1..order.len()).rev() {
        let other = usize::try_from(chance(last as u64)).unwrap_or(0);
        order.swap(last, other);
    }
    order
}

/// TLS as configured; the files are read anew for each connection, so that a renewed one counts from the next on.
pub(crate) fn tls_connector(tls: &TlsConfig) -> Result<RustlsConnector, BusError> {
    let mut config = match &tls.ca_file {
        Some(_) => RustlsConnectorConfig::default(),
        None => RustlsConnectorConfig::new_with_native_certs().map_err(|source| BusError::Tls {
            why:
                "the system has no trusted authorities; install ca-certificates, or set tls.ca_file"
                    .to_owned(),
            source,
        })?,
    };
    if let Some(path) = &tls.ca_file {
        config.add_parsable_certificates(certificates(path)?);
    }
    let connector = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| {
                BusError::TlsContent {
                    path: key.clone(),
                    why: format!("no private key in PEM ({error})"),
                }
            })?;
            config.connector_with_single_cert(certificates(cert)?, key_der)
        }
        _ => config.connector_with_no_client_auth(),
    };
    connector.map_err(|source| BusError::Tls {
        why: "do certificate and key belong together?".to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BusError> {
    let unusable = |why: String| BusError::TlsContent {
        path: PathBuf::from(path),
        why,
    };
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(format!("no certificate in PEM ({error})")))?;
    if found.is_empty() {
        return Err(unusable("no PEM block of a CERTIFICATE".to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, BusError> {
    std::fs::read(path).map_err(|source: io::Error| BusError::TlsFile {
        path: PathBuf::from(path),
        source,
    })
}

/// An error with all that is below it, on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let said = source.to_string();
        // some wrap without adding a word
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        below = source.source();
    }
    text
}
