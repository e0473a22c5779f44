//! A web server before `git http-backend`, as web servers run it, which lets in whoever shows one token.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The server.
pub(crate) struct Server {
    pub(crate) port: u16,
    let_in: Arc<AtomicUsize>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    head: String,
    body: Vec<u8>,
}

impl Server {
    /// Serves the repositories below `root` to whoever shows `token`; over TLS where it is handed that.
    pub(crate) async fn start(root: PathBuf, token: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let let_in = Arc::new(AtomicUsize::new(0));
        let counted = let_in.clone();
        let wanted = format!("Basic {}", BASE64.encode(format!("token:{token}")));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (root, wanted, counted) = (root.clone(), wanted.clone(), counted.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, &root, &wanted, &counted).await;
                    };
                    // Who does not trust it goes away.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, &root, &wanted, &counted).await;
                    }
                });
            }
        });
        Self { port, let_in }
    }

    /// How many requests showed the token.
    pub(crate) fn let_in(&self) -> usize {
        self.let_in.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    root: &Path,
    wanted: &str,
    counted: &AtomicUsize,
) {
    let request = read(&mut stream).await;
    let answer = if request.header("authorization") == wanted {
        counted.fetch_add(1, Ordering::Relaxed);
        answer(root, request).await
    } else {
        no(request.header("authorization"))
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

/// A refusal that says whom it refuses, as some servers do, with all that was shown.
fn no(shown: &str) -> Vec<u8> {
    let plain = shown.strip_prefix("Basic ").unwrap_or_default();
    let plain = String::from_utf8(BASE64.decode(plain).unwrap()).unwrap();
    let body = format!("no access by {shown} that is {plain}.\n");
    let length = body.len();
    format!(
        "HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=\"git\"\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Request {
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    let end = loop {
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        all.extend_from_slice(&chunk[..read]);
        let end = all.windows(4).position(|four| four == b"\r\n\r\n");
        if end.is_some() || read == 0 {
            break end.unwrap_or(all.len());
        }
    };
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let mut words = head.split(' ');
    let (method, address) = (words.next().unwrap(), words.next().unwrap_or_default());
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        body: all.get(end + 4..).unwrap_or_default().to_vec(),
        head,
    };
    let length = request.header("content-length").parse().unwrap_or(0);
    while request.body.len() < length {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "half a request: {}", request.head);
        request.body.extend_from_slice(&chunk[..read]);
    }
    request
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| {
            let (known, _) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(known.len() + 1)
        };
        let found = self
            .head
            .lines()
            .find_map(|line| Some(&line[value(line)?..]));
        found.unwrap_or_default().trim()
    }
}

/// What `git http-backend` answers, by the rules of CGI.
async fn answer(root: &Path, request: Request) -> Vec<u8> {
    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("REMOTE_USER", "somebody")
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", request.header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = backend.stdin.take().unwrap();
    let body = request.body;
    tokio::spawn(async move { input.write_all(&body).await });
    let said = backend.wait_with_output().await.unwrap().stdout;
    let end = said
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&said[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.unwrap_or("200 OK");
    let mut answer =
        format!("HTTP/1.1 {status}\r\n{head}\r\nconnection: close\r\n\r\n").into_bytes();
    answer.extend_from_slice(&said[end + 4..]);
    answer
}
