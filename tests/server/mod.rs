//! A server that misbehaves on request, for the tests of fetching: one thread a connection, one answer a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What a connection gets before it is closed.
#[derive(Clone)]
pub struct Answer {
    pub head: String,
    pub body: Vec<u8>,
    /// Says nothing more after the body, and keeps the connection open.
    pub hangs: bool,
}

impl Answer {
    /// `HTTP/1.1 <status>`, these header lines, this body.
    pub fn new(status: &str, headers: &[&str], body: &[u8]) -> Self {
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        Self {
            head: format!("HTTP/1.1 {status}\r\nConnection: close\r\n{lines}\r\n"),
            body: body.to_vec(),
            hangs: false,
        }
    }

    /// Keeps the connection open and says nothing more.
    pub fn hanging(self) -> Self {
        Self { hangs: true, ..self }
    }
}

/// The server; it ends with the process.
pub struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers the n-th request, counted from 0, with what `answer` makes of n and of the request's head.
    pub fn start(answer: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_reading(move |nth, head, _| answer(nth, head))
    }

    /// As [`Server::start`]; `answer` is told the request's body too.
    pub fn start_reading(answer: impl Fn(usize, &str, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                thread::spawn(move || {
                    let (head, body) = request(&stream);
                    if head.starts_with("CONNECT ") {
                        heard.lock().expect("no thread panicked").push(head);
                        return tunnel(stream, &*answer);
                    }
                    let nth = {
                        let mut heard = heard.lock().expect("no thread panicked");
                        heard.push(head.clone());
                        heard.len() - 1
                    };
                    give(stream, &answer(nth, &head, &body));
                });
            }
        });
        Self { port, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of all requests so far, in small letters.
    pub fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock().expect("no thread panicked");
        requests.iter().map(|head| head.to_ascii_lowercase()).collect()
    }
}

/// Where a request wants its file to begin.
pub fn asked_from(head: &str) -> Option<usize> {
    let head = head.to_ascii_lowercase();
    let (_, range) = head.split_once("range: bytes=")?;
    range.split_once('-')?.0.parse().ok()
}

/// A request's head, and its body if it says how long that is.
fn request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let head: String = lines.map(|line| line + "\n").collect();
    let length = head.lines().filter_map(|line| line.split_once(": "));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.filter_map(|(_, value)| value.parse().ok()).next().unwrap_or(0);
    let mut body = Vec::new();
    let _ = reader.take(length).read_to_end(&mut body);
    (head, body)
}

/// Plays a proxy and the server behind it at once, whose request counts as the 0th.
fn tunnel(mut stream: TcpStream, answer: &dyn Fn(usize, &str, &[u8]) -> Answer) {
    let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
    let (head, body) = request(&stream);
    give(stream, &answer(0, &head, &body));
}

/// The client may have gone: that is its affair.
fn give(mut stream: TcpStream, answer: &Answer) {
    let _ = stream.write_all(answer.head.as_bytes()).and_then(|()| stream.write_all(&answer.body));
    let _ = stream.flush();
    if answer.hangs {
        thread::sleep(Duration::from_secs(600));
    }
    let _ = stream.shutdown(Shutdown::Both);
}
