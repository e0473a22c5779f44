//! A real web server on loopback for tests: one that answers what it was told to, in order, counts and keeps what it was asked, and can cut
//! the connection instead.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::http_client::Client;
use super::http_guard::Guard;

/// What it does with a request.
#[derive(Clone)]
pub(crate) enum Does {
    /// Answers this, as it is written.
    Says(String),
    /// Reads the request and closes.
    Cuts,
    /// Reads the request and never answers.
    Hangs,
}

/// An answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Does {
    says(status, "content-type: application/json\r\n", body)
}

/// An answer.
pub(crate) fn says(status: u16, headers: &str, body: &str) -> Does {
    let length = body.len();
    Does::Says(format!(
        "HTTP/1.1 {status} Said\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

/// The server.
pub(crate) struct TestServer {
    pub(crate) port: u16,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    /// Does these things, one for each request; the last one for ever.
    pub(crate) async fn doing(does: &[Does]) -> Self {
        Self::start(does, None).await
    }

    /// The same over TLS. Who does not agree is not counted as having asked.
    pub(crate) async fn over_tls(does: &[Does], tls: TlsAcceptor) -> Self {
        Self::start(does, Some(tls)).await
    }

    async fn start(does: &[Does], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (does, kept) = (does.to_vec(), asked.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let does = does[number.min(does.len() - 1)].clone();
                let (kept, tls) = (kept.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, does, &kept).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, does, &kept).await;
                    }
                });
            }
        });
        Self {
            port,
            scheme,
            asked,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// Every request so far, as it was read.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    does: Does,
    kept: &Mutex<Vec<String>>,
) {
    let request = read(&mut stream).await;
    kept.lock().unwrap().push(request);
    match does {
        Does::Says(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Does::Cuts => drop(stream),
        Does::Hangs => std::future::pending().await,
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        all.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        if read == 0 {
            return text;
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
    }
}

/// A client that reaches these targets beside the public ones.
pub(crate) fn client(allow: &[&str]) -> Client {
    let allow: Vec<String> = allow.iter().map(|entry| (*entry).to_owned()).collect();
    Client::new(Arc::new(Guard::new(&allow).unwrap()), Vec::new())
}

/// A port of loopback nobody listens at.
pub(crate) async fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
