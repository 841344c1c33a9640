//! One exchange with a server: what is asked, and what it answers, piece by piece.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::SystemTime;

use ureq::http::header::{CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED, LOCATION, RETRY_AFTER};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::backoff::retry_after;
use super::error::Broken;
use super::proxy::ProxyFor;
use super::{Address, FetchError, Patience};
use crate::fault;

/// Bytes of a piece.
const PIECE: usize = 1 << 17;
/// Pieces that wait to be written.
const AHEAD: usize = 8;
/// Redirects that are followed.
const REDIRECTS: usize = 10;

/// What to ask for.
pub(super) struct Ask {
    pub(super) address: Address,
    /// How many bytes are there, and what shows that they belong to the server's file.
    pub(super) resume: Option<(u64, String)>,
    pub(super) patience: Patience,
    pub(super) proxy: ProxyFor,
}

/// What comes back: a head, then bytes, then an end; or an end at once.
pub(super) enum Event {
    Head(Head),
    Bytes(Vec<u8>),
    End(Result<(), Broken>),
}

/// What a server says before the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Where in the file the bytes begin.
    pub(super) start: u64,
    /// The whole file's length, where it is said.
    pub(super) total: Option<u64>,
    /// What tells this file from others of the same address.
    pub(super) etag: Option<String>,
    /// When it was last changed.
    pub(super) modified: Option<String>,
}

/// Begins an exchange on a thread of its own, which ends soon after nobody listens any more.
pub(super) fn start(ask: Ask) -> Receiver<Event> {
    let (send, receive) = sync_channel(AHEAD);
    thread::spawn(move || {
        let end = exchange(&ask, &send);
        // whoever stopped listening knows
        let _ = send.send(Event::End(end));
    });
    receive
}

fn exchange(ask: &Ask, send: &SyncSender<Event>) -> Result<(), Broken> {
    let mut address = ask.address.clone();
    for _ in 0..=REDIRECTS {
        let mut request = agent(&address, ask)?.get(address.as_str()).header("accept-encoding", "identity");
        if let Some((from, validator)) = &ask.resume {
            request = request.header("range", format!("bytes={from}-")).header("if-range", validator);
        }
        let asked = fault::at("fetch.request", || Ok(request.call())).unwrap_or_else(|error| Err(error.into()));
        let response = asked.map_err(|error| broken(&address, error))?;
        if let Some(location) = redirect(&response) {
            address = follow(&address, location)?;
            continue;
        }
        let head = head(&address, &response)?;
        return pass_on(response, head, &address, send);
    }
    Err(FetchError::Astray { address: ask.address.clone(), why: format!("more than {REDIRECTS} redirects") }.into())
}

fn agent(address: &Address, ask: &Ask) -> Result<Agent, FetchError> {
    let silence = Some(ask.patience.silence);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy((ask.proxy)(address)?)
        .user_agent(concat!("mtorec/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(silence)
        .timeout_recv_response(silence)
        .timeout_per_read(silence)
        .build();
    Ok(config.new_agent())
}

fn text(response: &Response<Body>, name: HeaderName) -> Option<&str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

fn redirect(response: &Response<Body>) -> Option<&str> {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308).then(|| text(response, LOCATION)).flatten()
}

fn follow(address: &Address, location: &str) -> Result<Address, FetchError> {
    let astray = |why: String| FetchError::Astray { address: address.clone(), why };
    let next = address.join(location).map_err(|error| astray(format!("{location}: {error}")))?;
    if address.is_secure() && !next.is_secure() {
        return Err(astray(format!("{next} is not encrypted")));
    }
    Ok(next)
}

/// What the answer's head says, if the file comes with it.
fn head(address: &Address, response: &Response<Body>) -> Result<Head, Broken> {
    let status = response.status();
    let owned = |name| text(response, name).map(str::to_owned);
    let (etag, modified) = (owned(ETAG), owned(LAST_MODIFIED));
    match status {
        StatusCode::OK => Ok(Head { start: 0, total: response.body().content_length(), etag, modified }),
        StatusCode::PARTIAL_CONTENT => {
            let (start, total) = text(response, CONTENT_RANGE)
                .and_then(content_range)
                .ok_or_else(|| Broken::Afresh("the server sends a part of the file and does not say which".into()))?;
            Ok(Head { start, total, etag, modified })
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Err(Broken::Afresh("the server's file is shorter than what is there of it".into()))
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(later(response)),
        _ if status.is_server_error() => Err(later(response)),
        _ => Err(FetchError::Refused { address: address.clone(), status: status.to_string() }.into()),
    }
}

fn later(response: &Response<Body>) -> Broken {
    let after = text(response, RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
    let asks = after.map_or_else(String::new, |after| format!(" and asks to wait {} s", after.as_secs()));
    Broken::Again { what: format!("the server answers {}{asks}", response.status()), after }
}

/// Start and whole length of `bytes 42-1233/1234`, where `*` stands for a length that is not known.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((start.trim().parse().ok()?, total))
}

fn pass_on(response: Response<Body>, head: Head, address: &Address, send: &SyncSender<Event>) -> Result<(), Broken> {
    let gone = |_| Broken::Never(FetchError::Interrupted);
    send.send(Event::Head(head)).map_err(gone)?;
    let mut body = response.into_body().into_reader();
    loop {
        let mut piece = vec![0; PIECE];
        let read =
            fault::at("fetch.receive", || body.read(&mut piece)).map_err(|error| broken(address, error.into()))?;
        if read == 0 {
            return Ok(());
        }
        piece.truncate(read);
        send.send(Event::Bytes(piece)).map_err(gone)?;
    }
}

/// Whether what went wrong may go better next time.
fn broken(address: &Address, error: ureq::Error) -> Broken {
    use ureq::Error;
    match error {
        // what TLS says: a certificate that nobody vouches for, or no TLS at all
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            FetchError::Connection { address: address.clone(), what: error.to_string() }.into()
        }
        Error::Io(error) => Broken::again(format!("the connection broke: {error}")),
        Error::Timeout(_) => Broken::again("the server says nothing"),
        Error::HostNotFound => Broken::again(format!("no host `{}` is found", address.host())),
        Error::ConnectionFailed | Error::Protocol(_) | Error::ConnectProxyFailed(_) => {
            Broken::again(format!("the connection broke: {error}"))
        }
        other => FetchError::Connection { address: address.clone(), what: other.to_string() }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 14.4.
    #[test]
    fn ranges_of_content_are_read() {
        assert_eq!(content_range("bytes 42-1233/1234"), Some((42, Some(1234))));
        assert_eq!(content_range("bytes 42-1233/*"), Some((42, None)));
        for wrong in ["", "bytes */1234", "bytes 42-1233", "rows 1-2/3", "bytes a-b/c"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
