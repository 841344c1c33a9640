//! Fetching from a server that breaks off, lies and fails.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::server::{Answer, Server, asked_from};
use super::*;

/// Bytes that no two places of a file share for long.
fn content(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::of_reader(bytes, || false).unwrap().unwrap()
}

#[derive(Default)]
struct Log {
    notes: Mutex<Vec<String>>,
    totals: Mutex<Vec<Option<u64>>>,
    stopped: AtomicBool,
}

impl Watch for Log {
    fn cancelled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
    fn begin(&self, total: Option<u64>) {
        self.totals.lock().unwrap().push(total);
    }
    fn at(&self, _done: u64, _rate: f64) {}
    fn note(&self, line: &str) {
        self.notes.lock().unwrap().push(line.to_owned());
    }
}

impl Log {
    fn waits(&self) -> Vec<f64> {
        let notes = self.notes.lock().unwrap();
        let wait = |note: &String| note.split_once("tries again in ")?.1.strip_suffix(" s")?.parse().ok();
        notes.iter().filter_map(wait).collect()
    }
}

/// A folder to fetch to, and how it went.
struct Case {
    folder: tempfile::TempDir,
    log: Log,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), log: Log::default() }
    }

    fn to(&self) -> PathBuf {
        self.folder.path().join("new/train.csv")
    }

    fn fetch_holding(&self, url: &str, sha256: Option<Sha256>) -> Result<Fetched, FetchError> {
        self.fetch_patiently(url, sha256, Duration::from_millis(300))
    }

    fn fetch_patiently(&self, url: &str, sha256: Option<Sha256>, silence: Duration) -> Result<Fetched, FetchError> {
        let patience = Patience { silence, ..Patience::default() };
        let fetcher = Fetcher { patience, wait: |_, _| Ok(()), proxy: |_| Ok(None) };
        fetcher.fetch(&Wanted { address: url.parse().unwrap(), sha256, to: &self.to() }, &self.log)
    }

    fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        self.fetch_holding(url, None)
    }

    /// Everything in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("new")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn has(&self, bytes: &[u8]) {
        assert!(fs::read(self.to()).unwrap() == bytes, "another content");
        assert_eq!(self.names(), ["train.csv"]);
    }
}

/// A server that keeps to the standard, and breaks off after each `most` bytes.
fn sound(bytes: Vec<u8>, most: usize) -> Server {
    Server::start(move |_, head| {
        let from = asked_from(head).unwrap_or(0);
        let end = bytes.len().min(from + most);
        let length = format!("Content-Length: {}", bytes.len() - from);
        let range = format!("Content-Range: bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        let tag = "ETag: \"one\"";
        match asked_from(head) {
            Some(_) => Answer::new("206 Partial Content", &[&length, &range, tag], &bytes[from..end]),
            None => Answer::new("200 OK", &[&length, tag], &bytes[from..end]),
        }
    })
}

#[test]
fn a_whole_file_comes_in_one_exchange() {
    let (case, bytes) = (Case::new(), content(300_000));
    let server = sound(bytes.clone(), usize::MAX);
    let fetched = case.fetch_holding(&server.url("/train.csv"), Some(sha256(&bytes))).unwrap();
    assert_eq!(fetched, Fetched::New(sha256(&bytes)));
    case.has(&bytes);
    assert_eq!(*case.log.totals.lock().unwrap(), [Some(300_000)]);
    let asked = server.requests();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("get /train.csv http/1.1\n"), "{asked:?}");
    assert!(asked[0].contains("accept-encoding: identity") && asked[0].contains("user-agent: mtorec/"), "{asked:?}");
    // what is there is left alone
    assert_eq!(case.fetch(&server.url("/other.csv")).unwrap(), Fetched::Present);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_breaks_off_is_gone_on_with() {
    let (case, bytes) = (Case::new(), content(100_000));
    // ten pieces: more breaks than retries, but each brings something
    let server = sound(bytes.clone(), 10_000);
    case.fetch(&server.url("/train.csv")).unwrap();
    case.has(&bytes);
    let asked = server.requests();
    let from: Vec<Option<usize>> = asked.iter().map(|head| asked_from(head)).collect();
    let expected: Vec<Option<usize>> = (0..10).map(|piece| (piece > 0).then_some(piece * 10_000)).collect();
    assert_eq!(from, expected);
    assert!(asked[1].contains("if-range: \"one\""), "{}", asked[1]);
}

#[test]
fn a_stopped_fetch_is_gone_on_with_by_the_next_one() {
    let (case, bytes) = (Case::new(), content(100_000));
    let server = {
        let bytes = bytes.clone();
        Server::start(move |nth, head| match (nth, asked_from(head)) {
            (0, None) => {
                let headers = ["Content-Length: 100000", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"];
                Answer::new("200 OK", &headers, &bytes[..40_000]).hanging()
            }
            (1, Some(40_000)) => {
                let headers =
                    ["Content-Range: bytes 40000-99999/100000", "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"];
                Answer::new(
                    "206 Partial Content",
                    &[&headers[..], &["Content-Length: 60000"]].concat(),
                    &bytes[40_000..],
                )
            }
            other => panic!("{other:?}"),
        })
    };
    let (part, url) = (case.folder.path().join("new/.train.csv.part"), server.url("/train.csv"));
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| case.fetch_patiently(&url, None, Duration::from_secs(60)));
        let start = Instant::now();
        while fs::metadata(&part).map_or(0, |found| found.len()) < 40_000 {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing comes");
            std::thread::sleep(Duration::from_millis(5));
        }
        case.log.stopped.store(true, Ordering::Relaxed);
        assert!(matches!(fetching.join().unwrap(), Err(FetchError::Interrupted)));
    });
    assert_eq!(case.names(), [".train.csv.part", ".train.csv.part.json"]);

    let again = Case { log: Log::default(), ..case };
    again.fetch_holding(&url, Some(sha256(&bytes))).unwrap();
    again.has(&bytes);
    let asked = server.requests();
    assert!(asked[1].contains("if-range: sun, 06 nov 1994 08:49:37 gmt"), "{asked:?}");
    assert!(again.log.notes.lock().unwrap()[0].starts_with("goes on after 40000 bytes"));
}

#[test]
fn a_file_that_changed_is_not_glued_to_the_old_one() {
    let (old, new) = (content(50_000), content(60_000).into_iter().rev().collect::<Vec<u8>>());
    // one heeds `If-Range`, one does not, one has a shorter file now
    for kind in 0..3 {
        let case = Case::new();
        let (old, new, expected) =
            (old.clone(), new.clone(), if kind == 2 { new[..10_000].to_vec() } else { new.clone() });
        let server = Server::start(move |nth, head| match (nth, kind, asked_from(head)) {
            (0, ..) => Answer::new("200 OK", &["Content-Length: 50000", "ETag: \"old\""], &old[..20_000]),
            (1, 1, Some(20_000)) => {
                let headers = ["Content-Length: 40000", "Content-Range: bytes 20000-59999/60000", "ETag: \"new\""];
                Answer::new("206 Partial Content", &headers, &new[20_000..])
            }
            (1, 2, Some(20_000)) => Answer::new("416 Range Not Satisfiable", &["Content-Range: bytes */10000"], b""),
            (_, 2, _) => Answer::new("200 OK", &["Content-Length: 10000", "ETag: \"new\""], &new[..10_000]),
            _ => Answer::new("200 OK", &["Content-Length: 60000", "ETag: \"new\""], &new),
        });
        case.fetch(&server.url("/train.csv")).unwrap();
        case.has(&expected);
        assert_eq!(server.requests().len(), if kind == 0 { 2 } else { 3 }, "{kind}");
    }
}

#[test]
fn a_server_without_ranges_sends_the_file_again() {
    for tag in ["ETag: \"one\"", "ETag: W/\"weak\"", "X-Nothing: at all"] {
        let (case, bytes) = (Case::new(), content(50_000));
        let sent = bytes.clone();
        let server = Server::start(move |nth, _| {
            Answer::new("200 OK", &["Content-Length: 50000", tag], &sent[..if nth < 2 { 30_000 } else { 50_000 }])
        });
        case.fetch(&server.url("/train.csv")).unwrap();
        case.has(&bytes);
        let asked = server.requests();
        assert_eq!(asked.len(), 3);
        // a weak tag, or none, does not tell two files apart
        assert_eq!(asked_from(&asked[1]), tag.contains("one").then_some(30_000), "{tag}");
    }
}

#[test]
fn a_length_that_is_wrong_again_and_again_ends_the_fetch() {
    let case = Case::new();
    let server = Server::start(|_, head| match asked_from(head) {
        None => Answer::new("200 OK", &["Content-Length: 1000", "ETag: \"one\""], &content(800)),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-999/1000");
            Answer::new("206 Partial Content", &["Content-Length: 200", "ETag: \"one\"", &range], b"")
        }
    });
    let error = case.fetch(&server.url("/train.csv")).unwrap_err();
    assert!(matches!(error, FetchError::GaveUp { kept: 800, .. }), "{error}");
    assert!(error.hint().unwrap().contains("800 bytes"), "{:?}", error.hint());
    assert_eq!(server.requests().len(), 6);
    let waits = case.log.waits();
    assert_eq!(waits.len(), 5);
    for (wait, whole) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
        // one decimal is shown
        assert!((whole / 2.0 - 0.06..=whole + 0.06).contains(wait), "{waits:?}");
    }
    assert!(!case.to().exists());
}

#[test]
fn a_wrong_digest_leaves_nothing_and_says_both() {
    let case = Case::new();
    let server = sound(content(1000), usize::MAX);
    let url = server.url("/train.csv");
    let message = case.fetch_holding(&url, Some(sha256(b"abc"))).unwrap_err().to_string();
    let (expected, got) = (sha256(b"abc"), sha256(&content(1000)));
    assert_eq!(message, format!("{url} gave another file than it should: expected SHA-256 {expected}, got {got}"));
    assert!(case.names().is_empty());
}

/// The server's file changes without another tag: the pieces do not fit, a fresh copy does.
#[test]
fn pieces_that_do_not_add_up_are_fetched_anew_once() {
    let (case, new) = (Case::new(), content(1000));
    let sent = new.clone();
    let server = Server::start(move |nth, head| match (nth, asked_from(head)) {
        (0, _) => Answer::new("200 OK", &["Content-Length: 1000", "ETag: \"one\""], &[7; 400]),
        (_, Some(400)) => {
            let headers = ["Content-Length: 600", "Content-Range: bytes 400-999/1000", "ETag: \"one\""];
            Answer::new("206 Partial Content", &headers, &sent[400..])
        }
        _ => Answer::new("200 OK", &["Content-Length: 1000", "ETag: \"one\""], &sent),
    });
    case.fetch_holding(&server.url("/train.csv"), Some(sha256(&new))).unwrap();
    case.has(&new);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let (case, bytes) = (Case::new(), content(1000));
    let sent = bytes.clone();
    let server = Server::start(move |nth, _| match nth {
        0 => Answer::new("500 Internal Server Error", &["Content-Length: 4"], b"oops"),
        1 => Answer::new("503 Service Unavailable", &["Retry-After: 40"], b""),
        2 => Answer::new("429 Too Many Requests", &["Retry-After: 7"], b""),
        3 => Answer::new("200 OK", &["Content-Length: 1000"], b"").hanging(),
        _ => Answer::new("200 OK", &["Transfer-Encoding: chunked"], &chunked(&sent)),
    });
    case.fetch(&server.url("/train.csv")).unwrap();
    case.has(&bytes);
    let waits = case.log.waits();
    assert_eq!(waits.len(), 4);
    assert_eq!(waits[1..3], [40.0, 7.0]);
    assert!(case.log.notes.lock().unwrap()[3].starts_with("the server says nothing"), "{:?}", case.log.notes);
    assert_eq!(*case.log.totals.lock().unwrap(), [Some(1000), None]);
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let chunk = |chunk: &[u8]| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
    bytes.chunks(300).map(chunk).chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
}

#[test]
fn chunks_that_break_off_are_no_file() {
    let (case, bytes) = (Case::new(), content(1000));
    let sent = chunked(&bytes);
    let server = Server::start(move |nth, _| {
        Answer::new("200 OK", &["Transfer-Encoding: chunked"], &sent[..if nth == 0 { 650 } else { sent.len() }])
    });
    case.fetch(&server.url("/train.csv")).unwrap();
    case.has(&bytes);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_refusal_is_not_asked_again() {
    for (status, hint) in [("404 Not Found", "correct `url:`"), ("403 Forbidden", "with your account")] {
        let case = Case::new();
        let server = Server::start(move |_, _| Answer::new(status, &["Content-Length: 0"], b""));
        let url = server.url("/train.csv");
        let error = case.fetch(&url).unwrap_err();
        assert_eq!(error.to_string(), format!("{url} answers {status}"));
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        assert_eq!(server.requests().len(), 1);
        assert!(!case.to().exists());
    }
}

#[test]
fn too_long_a_wait_is_not_waited() {
    let case = Case::new();
    let server = Server::start(|_, _| Answer::new("429 Too Many Requests", &["Retry-After: 86400"], b""));
    let message = case.fetch(&server.url("/train.csv")).unwrap_err().to_string();
    assert!(message.ends_with("the server answers 429 Too Many Requests and asks to wait 86400 s"), "{message}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn nobody_listening_is_tried_again_and_then_said() {
    let case = Case::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = case.fetch(&format!("http://127.0.0.1:{port}/train.csv")).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(error.hint().unwrap().contains("http_proxy"), "{:?}", error.hint());
    assert_eq!(case.log.waits().len(), 5);
}

#[test]
fn a_server_without_encryption_is_not_asked_again_for_it() {
    let case = Case::new();
    let server = Server::start(|_, _| Answer::new("400 Bad Request", &[], b"what?"));
    let error = case.fetch(&server.url("/train.csv").replace("http:", "https:")).unwrap_err();
    assert!(matches!(error, FetchError::Connection { .. }), "{error}");
    assert!(case.log.waits().is_empty());
}

#[test]
fn redirects_are_followed_within_the_web_and_not_for_ever() {
    let bytes = content(1000);
    let sent = bytes.clone();
    let server = Server::start(move |_, head| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/a/start" => Answer::new("302 Found", &["Location: next"], b""),
            "/a/next" => Answer::new("307 Temporary Redirect", &["Location: /file?x=1"], b""),
            "/file?x=1" => Answer::new("200 OK", &["Content-Length: 1000"], &sent),
            "/round" => Answer::new("301 Moved Permanently", &["Location: /round"], b""),
            "/out" => Answer::new("302 Found", &["Location: file:///etc/passwd"], b""),
            other => panic!("{other}"),
        }
    });
    let case = Case::new();
    case.fetch(&server.url("/a/start")).unwrap();
    case.has(&bytes);
    let message = Case::new().fetch(&server.url("/round")).unwrap_err().to_string();
    assert!(message.ends_with("more than 10 redirects"), "{message}");
    let message = Case::new().fetch(&server.url("/out")).unwrap_err().to_string();
    assert!(message.contains("file:///etc/passwd: only `http://` and `https://`"), "{message}");
}

#[test]
fn one_of_two_fetches_the_other_waits() {
    let (case, bytes) = (Case::new(), content(1000));
    let sent = bytes.clone();
    let server = Server::start(move |nth, _| {
        if nth == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        Answer::new("200 OK", &["Content-Length: 1000"], &sent)
    });
    let url = server.url("/train.csv");
    let results = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| case.fetch(&url).unwrap()));
        both.map(|one| one.join().unwrap())
    });
    assert!(results.contains(&Fetched::Present) && results.contains(&Fetched::New(sha256(&bytes))), "{results:?}");
    case.has(&bytes);
    assert_eq!(server.requests().len(), 1);
    assert!(case.log.notes.lock().unwrap().iter().any(|note| note.starts_with("waits for another process")));
}

#[test]
fn the_address_of_a_part_is_part_of_it() {
    let (case, bytes) = (Case::new(), content(1000));
    let server = sound(bytes.clone(), usize::MAX);
    fs::create_dir(case.folder.path().join("new")).unwrap();
    fs::write(case.folder.path().join("new/.train.csv.part"), [1; 500]).unwrap();
    let note = r#"{"address": "http://elsewhere/train.csv", "etag": "\"one\"", "modified": null, "total": 1000}"#;
    fs::write(case.folder.path().join("new/.train.csv.part.json"), note).unwrap();
    case.fetch(&server.url("/train.csv")).unwrap();
    case.has(&bytes);
    assert_eq!(asked_from(&server.requests()[0]), None);
}
