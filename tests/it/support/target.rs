//! Targets on loopback: raw bytes, so that anything can be sent, and a record of what was asked.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What a raw target does with a connection.
#[derive(Clone)]
pub enum Act {
    /// Sends these bytes for each request on the connection, and keeps it open.
    Reply(Vec<u8>),
    /// Sends these bytes and closes.
    ReplyAndClose(Vec<u8>),
    /// Sends these bytes and then nothing more.
    ReplyAndHang(Vec<u8>),
    /// Sends the first once and the second again and again.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Closes without a byte, after reading the request.
    Close,
    /// Resets instead of answering.
    Reset,
    /// Answers with the status that is set at the moment, and `{}`.
    Status(Arc<AtomicU16>),
    /// Answers by path: the first prefix that fits.
    Routes(Vec<(&'static str, Vec<u8>)>),
    /// Answers what a function of the request, and of how many came before it, says.
    Script(Script),
}

pub type Script = Arc<dyn Fn(&str, usize) -> Vec<u8> + Send + Sync>;

pub struct Target {
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An HTTP response with the right length.
pub fn response(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    format!("{head}\r\n{body}").into_bytes()
}

impl Target {
    pub async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, act.clone(), Arc::clone(&seen)));
            }
        });
        Self { url: format!("http://127.0.0.1:{port}"), requests, connections, task }
    }

    /// One that answers as `script` says.
    pub async fn scripted(script: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(Act::Script(Arc::new(script))).await
    }

    /// One whose status can be changed while it runs.
    pub async fn switchable() -> (Self, Arc<AtomicU16>) {
        let status = Arc::new(AtomicU16::new(200));
        (Self::start(Act::Status(Arc::clone(&status))).await, status)
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The requests so far: head and body as text.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, act: Act, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        let written = match &act {
            Act::Reply(bytes) => stream.write_all(bytes).await,
            Act::ReplyAndClose(bytes) => {
                let _ = stream.write_all(bytes).await;
                return;
            }
            Act::ReplyAndHang(bytes) => {
                let _ = stream.write_all(bytes).await;
                let _ = stream.read(&mut [0; 1]).await;
                return;
            }
            Act::Drip(first, more, pause) => {
                let _ = stream.write_all(first).await;
                while stream.write_all(more).await.is_ok() {
                    tokio::time::sleep(*pause).await;
                }
                return;
            }
            Act::Status(status) => {
                let reply = response(&format!("{} X", status.load(Ordering::SeqCst)), &[], "{}");
                stream.write_all(&reply).await
            }
            Act::Script(script) => stream.write_all(&script(&request, before)).await,
            Act::Close => return,
            Act::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Act::Routes(routes) => {
                let path = request.split(' ').nth(1).unwrap_or("");
                let found = routes.iter().find(|(prefix, _)| path.starts_with(prefix));
                let missing = response("404 Not Found", &[], "no such page");
                stream.write_all(found.map_or(&missing, |(_, bytes)| bytes)).await
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// Head and body of the next request; `None` when the client is done.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(head_end) = text.find("\r\n\r\n") {
            let length = text[..head_end]
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|v| v.parse::<usize>().ok())
                })
                .unwrap_or(0);
            if bytes.len() >= head_end + 4 + length {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
