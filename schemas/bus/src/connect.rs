//! Opens one connection to one of the addresses: in shuffled order, each within a time limit, with TLS where asked for.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use lapin::{
    Connection, ConnectionProperties,
    tcp::{OwnedIdentity, OwnedTLSConfig},
    uri::AMQPUri,
};

use crate::{
    backoff::chance,
    config::{Checked, TlsConfig, shown_uri},
    error::BusError,
    state::Use,
};

/// Time for one address, name look-up to open AMQP connection. A broker under load needs seconds, a dead host would
/// take minutes by itself.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Connects to the first address that answers; otherwise says what each of them met.
pub(crate) async fn connect(
    checked: &Checked,
    what_for: Use,
) -> Result<(Connection, String), String> {
    let tls = read_tls(&checked.config.tls).map_err(|error| chain(&error))?;
    let mut met = String::new();
    for uri in shuffled(&checked.uris) {
        let shown = shown_uri(&uri);
        match connect_one(uri, tls.clone(), checked, what_for).await {
            Ok(connection) => return Ok((connection, shown)),
            Err(why) => {
                if !met.is_empty() {
                    met.push_str("; ");
                }
                let _ = write!(met, "{shown}: {why}");
            }
        }
    }
    Err(met)
}

async fn connect_one(
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    checked: &Checked,
    what_for: Use,
) -> Result<Connection, String> {
    let config = &checked.config;
    let name = format!("baton/{}/{}/{what_for}", config.role, config.instance);
    // lapin's own recovery stays off: it may go silent, and it replays only part of what was there
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|e| e.to_string())?;
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer within {} s", CONNECT_LIMIT.as_secs())),
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

/// The certificates, read anew for each connection, so that a renewed file counts from the next one on.
pub(crate) fn read_tls(tls: &TlsConfig) -> Result<OwnedTLSConfig, BusError> {
    let cert_chain = match &tls.ca_file {
        Some(path) => Some(read_pem(path, "CERTIFICATE")?),
        None => None,
    };
    let identity = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 {
            pem: read_pem(cert, "CERTIFICATE")?.into_bytes(),
            key: read_pem(key, "PRIVATE KEY")?.into_bytes(),
        }),
        _ => None,
    };
    Ok(OwnedTLSConfig {
        identity,
        cert_chain,
    })
}

fn read_pem(path: &Path, holds: &str) -> Result<String, BusError> {
    let text = std::fs::read_to_string(path).map_err(|source| BusError::TlsFile {
        path: PathBuf::from(path),
        source,
    })?;
    if text.contains(&format!("{holds}-----")) {
        Ok(text)
    } else {
        Err(BusError::TlsContent {
            path: PathBuf::from(path),
            why: format!("no PEM block of a {holds}"),
        })
    }
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
