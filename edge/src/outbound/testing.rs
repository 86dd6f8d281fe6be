//! A service on this host for tests: answers as it is told to, and counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the service does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Status, further header lines, body.
    Answer(u16, &'static str, String),
    /// Reads, and never says a word.
    Hang,
    /// Bytes that are no HTTP.
    Garbage,
    /// A head, and a body that never ends.
    Endless,
    Close,
}

/// A running service. Ends with its owner.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (asked, requests) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let mut tasks = JoinSet::new();
        let shared = (behaviour.clone(), asked.clone(), Arc::clone(&requests));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (behaviour, asked, requests) = shared.clone();
                connections.spawn(serve(stream, behaviour, asked, requests));
            }
        });
        Self { address, behaviour, asked, requests, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The requests as they came, heads and bodies.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    while let Some(request) = read(&mut stream).await {
        asked.fetch_add(1, Ordering::SeqCst);
        requests.lock().unwrap().push(request);
        let behaviour = behaviour.lock().unwrap().clone();
        let answer = match behaviour {
            Behaviour::Answer(status, headers, body) => format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            ),
            Behaviour::Garbage => "\u{1}\u{2}garbage\r\n\r\n".to_owned(),
            Behaviour::Close => return,
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n").await;
                while stream.write_all(&[b' '; 4096]).await.is_ok() {}
                return;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request, head and body.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut more = [0; 4096];
        match stream.read(&mut more).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&more[..read]),
            _ => return None,
        }
    }
}
