//! One HTTP exchange, in steps that can be told apart: as long as no request has been written, nothing can have happened at the other end,
//! and that is what decides whether an attempt *failed* or is *unknown*.
//!
//! It connects only to addresses that [`Guard`] let through, takes no proxy from the environment, follows redirects only where the request
//! changes nothing, hands credentials to no other origin, and reads no more than it was told to.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{
    AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::http_guard::{Guard, TargetError};

/// How long one address may take to accept a connection and to agree on TLS.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// What the status line and the headers of an answer may have, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What we call ourselves.
const USER_AGENT: &str = concat!("baton-worker/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{url} cannot be asked: {why}")]
    Url { url: String, why: String },
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{host}:{port} cannot be connected to: {why}")]
    Connect {
        host: String,
        port: u16,
        why: String,
    },
    #[error("no TLS with {host}: {why}")]
    Tls { host: String, why: String },
    #[error("the time was over before anything was sent to {host}")]
    LateUnsent { host: String },
    #[error("{host} was sent the request and gave no whole answer in time")]
    Late { host: String },
    #[error("{host} was sent the request, and the connection was lost: {why}")]
    Lost { host: String, why: String },
    #[error("redirected more than {most} times, at last to {url}")]
    Redirects { most: u8, url: String },
    #[error(
        "redirected from {from} to {to}, and the request carries credentials, which no other host is handed"
    )]
    Credentials { from: String, to: String },
}

impl SendError {
    /// Whether the other end may have got the request.
    pub(crate) const fn may_be_sent(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Lost { .. })
    }

    /// A short stable word.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url-misfit",
            Self::Target(TargetError::Denied { .. }) => "target-denied",
            Self::Target(TargetError::Unresolved { .. }) => "unresolved",
            Self::Connect { .. } => "no-connection",
            Self::Tls { .. } => "no-tls",
            Self::LateUnsent { .. } | Self::Late { .. } => "no-answer-in-time",
            Self::Lost { .. } => "connection-lost",
            Self::Redirects { .. } => "too-many-redirects",
            Self::Credentials { .. } => "redirect-refused",
        }
    }

    /// Whether asking again may come out otherwise.
    pub(crate) const fn may_retry(&self) -> bool {
        !matches!(
            self,
            Self::Url { .. }
                | Self::Target(TargetError::Denied { .. })
                | Self::Redirects { .. }
                | Self::Credentials { .. }
        )
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What of the answer's body is read.
    pub(crate) body_bytes_max: usize,
    /// How many redirects are followed, where the method changes nothing.
    pub(crate) redirects_max: u8,
    /// Whether the headers hold what no other host may have.
    pub(crate) confidential: bool,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended within what was to be read.
    pub(crate) whole: bool,
}

/// Asks over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    guard: Arc<Guard>,
    ca_pem: Arc<Vec<u8>>,
    tls: Arc<OnceLock<Result<Arc<ClientConfig>, String>>>,
}

impl Client {
    /// Trusts the authorities of the system, and those of `ca_pem`.
    pub(crate) fn new(guard: Arc<Guard>, ca_pem: Vec<u8>) -> Self {
        Self {
            guard,
            ca_pem: Arc::new(ca_pem),
            tls: Arc::new(OnceLock::new()),
        }
    }

    /// Asks, and reads the answer, until `deadline`.
    pub(crate) async fn send(&self, mut ask: Ask, deadline: Instant) -> Result<Answer, SendError> {
        let mut followed = 0;
        loop {
            let answer = self.once(&ask, deadline).await?;
            let Some(next) = redirect(&ask, &answer) else {
                return Ok(answer);
            };
            if ask.redirects_max == 0 {
                return Ok(answer);
            }
            followed += 1;
            if followed > ask.redirects_max {
                return Err(SendError::Redirects {
                    most: ask.redirects_max,
                    url: shown(&next),
                });
            }
            if next.origin() != ask.url.origin() && carries_credentials(&ask) {
                return Err(SendError::Credentials {
                    from: shown(&ask.url),
                    to: shown(&next),
                });
            }
            ask.url = next;
        }
    }

    async fn once(&self, ask: &Ask, deadline: Instant) -> Result<Answer, SendError> {
        let (host, port) = target(&ask.url)?;
        let late = || SendError::LateUnsent {
            host: host.to_string(),
        };
        let addresses = timeout_at(deadline, self.guard.addresses(&host, port))
            .await
            .map_err(|_| late())??;
        let stream = timeout_at(deadline, connect(&host, port, &addresses))
            .await
            .map_err(|_| late())??;
        if ask.url.scheme() == "http" {
            return exchange(stream, ask, &host, deadline).await;
        }
        let agreed = self.agree(&host, stream);
        let stream = timeout_at(deadline, agreed).await.map_err(|_| late())??;
        exchange(stream, ask, &host, deadline).await
    }

    /// TLS with `host`.
    async fn agree(
        &self,
        host: &Host<String>,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, SendError> {
        let failed = |why: String| SendError::Tls {
            host: host.to_string(),
            why,
        };
        let config = self
            .tls
            .get_or_init(|| tls(&self.ca_pem).map(Arc::new))
            .clone()
            .map_err(failed)?;
        let name = match host {
            Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|error| failed(error.to_string()))?
            }
            Host::Ipv4(address) => ServerName::from(std::net::IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(std::net::IpAddr::V6(*address)),
        };
        let agreed = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(CONNECT_WAIT, agreed).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("no answer in time".to_owned())),
        }
    }
}

/// The host and the port of an address we may ask.
fn target(url: &Url) -> Result<(Host<String>, u16), SendError> {
    let misfit = |why: &str| SendError::Url {
        url: shown(url),
        why: why.to_owned(),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(misfit("only http and https are spoken"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(misfit(
            "it holds a user or a password; give them as `auth`, where they can be a secret",
        ));
    }
    match (url.host(), url.port_or_known_default()) {
        (Some(host), Some(port)) => Ok((host.to_owned(), port)),
        _ => Err(misfit("it names no host")),
    }
}

/// An address without what may be confidential in it.
pub(crate) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

async fn connect(
    host: &Host<String>,
    port: u16,
    addresses: &[std::net::SocketAddr],
) -> Result<TcpStream, SendError> {
    let mut why = String::new();
    for address in addresses {
        match tokio::time::timeout(CONNECT_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is one small write: waiting to fill a packet only delays it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "no answer in time".to_owned(),
        }
    }
    Err(SendError::Connect {
        host: host.to_string(),
        port,
        why,
    })
}

/// Writes the request and reads the answer. From the first byte written on, it may have been acted upon.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ask: &Ask,
    host: &Host<String>,
    deadline: Instant,
) -> Result<Answer, SendError> {
    let host = host.to_string();
    let request = request(ask)?;
    let lost = |error: hyper::Error| SendError::Lost {
        host: host.clone(),
        why: causes(&error),
    };
    let whole = async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        // Ended with this exchange, whatever comes.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.map_err(lost)?;
        read(response, ask.body_bytes_max).await.map_err(lost)
    };
    timeout_at(deadline, whole)
        .await
        .map_err(|_| SendError::Late { host: host.clone() })?
}

fn request(ask: &Ask) -> Result<Request<Full<Bytes>>, SendError> {
    let misfit = |why: String| SendError::Url {
        url: shown(&ask.url),
        why,
    };
    let path = match ask.url.query() {
        Some(query) => format!("{}?{query}", ask.url.path()),
        None => ask.url.path().to_owned(),
    };
    let host = match (ask.url.host_str(), ask.url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = path
        .parse()
        .map_err(|error: hyper::http::uri::InvalidUri| misfit(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(
        hyper::header::USER_AGENT,
        HeaderValue::from_static(USER_AGENT),
    );
    headers.insert(hyper::header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in &ask.headers {
        headers.insert(name, value.clone());
    }
    let host = HeaderValue::from_str(&host).map_err(|error| misfit(error.to_string()))?;
    headers.insert(HOST, host);
    headers.insert(hyper::header::CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn read(response: Response<Incoming>, bytes_max: usize) -> Result<Answer, hyper::Error> {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let mut whole = true;
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = bytes_max.saturating_sub(body.len());
        body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            whole = false;
            break;
        }
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
        whole,
    })
}

/// Where the answer sends on, if the request may follow.
fn redirect(ask: &Ask, answer: &Answer) -> Option<Url> {
    let follows = ask.method == Method::GET || ask.method == Method::HEAD;
    if !follows || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    ask.url.join(location).ok()
}

fn carries_credentials(ask: &Ask) -> bool {
    let headers = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];
    ask.confidential
        || headers
            .iter()
            .any(|name: &HeaderName| ask.headers.contains_key(name))
}

/// An error with what caused it: hyper's own words are few.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn tls(ca_pem: &[u8]) -> Result<ClientConfig, String> {
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
