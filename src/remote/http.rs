//! The way of `object_store` to its servers: the program's one HTTP client, with the TLS, the certificates and the proxies
//! of downloads.

use std::fmt;
use std::future::poll_fn;
use std::io::{ErrorKind, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use jiff::SignedDuration;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use ureq::http::response::Parts;
use ureq::http::{Method, Request};
use ureq::{Agent, Timeout};

use super::Bounds;
use crate::fetch::{Address, proxy_for};

/// Bytes of a piece.
const PIECE: usize = 1 << 17;
/// Pieces that wait to be taken.
const AHEAD: usize = 8;

/// Makes clients.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Bounds);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let Bounds { connect, silence, .. } = self.0;
        let asked = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let asked = asked.and_then(|text| Duration::try_from(text.parse::<SignedDuration>().ok()?).ok());
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("mtorec/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(asked.map_or(connect, |asked| asked.min(connect))))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .timeout_send_body(Some(silence * 20))
            .build();
        let unencrypted = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|text| is_yes(&text));
        Ok(HttpClient::new(Service { agent: config.new_agent(), unencrypted }))
    }
}

/// As `object_store` reads a switch.
fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y")
}

struct Service {
    agent: Agent,
    /// Whether a connection may be open to all who listen.
    unencrypted: bool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Service").field("unencrypted", &self.unencrypted).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, mut body) = request.into_parts();
        let address: Address = head.uri.to_string().parse().map_err(never)?;
        if !self.unencrypted && !address.is_secure() {
            return Err(never(Unencrypted));
        }
        let mut bytes = Vec::with_capacity(body.content_length());
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        let exchange = Exchange { agent: self.agent.clone(), address, request: Request::from_parts(head, bytes) };
        let (answer, answered) = oneshot::channel();
        let (send, pieces) = mpsc::channel(AHEAD);
        spawn_blocking(move || exchange.run(answer, &send));
        let (head, left) = answered.await.map_err(never)??;
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(Pieces { pieces, left })))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection would not be encrypted: `AWS_ALLOW_HTTP=true` (or its likes) allows that")]
struct Unencrypted;

/// What will not go better next time.
fn never(error: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

/// One request and its answer, on a thread that may wait.
struct Exchange {
    agent: Agent,
    address: Address,
    request: Request<Vec<u8>>,
}

/// The head of an answer, and how many bytes follow where that is said.
type Answer = Result<(Parts, Option<u64>), HttpError>;

impl Exchange {
    /// Gives the answer's head, and then its bytes, for as long as somebody takes them.
    fn run(self, answer: oneshot::Sender<Answer>, send: &mpsc::Sender<Result<Bytes, HttpError>>) {
        let only_head = self.request.method() == Method::HEAD;
        let response = match self.ask() {
            Ok(response) => response,
            Err(error) => {
                // whoever stopped listening knows
                let _ = answer.send(Err(error));
                return;
            }
        };
        let (head, body) = response.into_parts();
        let left = if only_head { None } else { body.content_length() };
        if answer.send(Ok((head, left))).is_err() || only_head {
            return;
        }
        let mut body = body.into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            let piece = match body.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    Ok(piece.into())
                }
                Err(error) => Err(broken(error.into())),
            };
            let ends = piece.is_err();
            if send.blocking_send(piece).is_err() || ends {
                return;
            }
        }
    }

    fn ask(self) -> Result<ureq::http::Response<ureq::Body>, HttpError> {
        let proxy = proxy_for(&self.address).map_err(never)?;
        let (head, body) = self.request.into_parts();
        // a body where none belongs would be announced by a header
        let answer = if body.is_empty() && !matches!(head.method, Method::PUT | Method::POST) {
            let request = self.agent.configure_request(Request::from_parts(head, ())).proxy(proxy).build();
            self.agent.run(request)
        } else {
            let request = self.agent.configure_request(Request::from_parts(head, body)).proxy(proxy).build();
            self.agent.run(request)
        };
        answer.map_err(broken)
    }
}

/// Whether what went wrong may go better next time.
fn broken(error: ureq::Error) -> HttpError {
    use ureq::Error;
    let kind = match &error {
        // what TLS says: a certificate that nobody vouches for, or no TLS at all
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => HttpErrorKind::Unknown,
        Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        Error::Io(_) | Error::Protocol(_) => HttpErrorKind::Interrupted,
        Error::Timeout(Timeout::Connect | Timeout::Resolve) | Error::HostNotFound | Error::ConnectionFailed => {
            HttpErrorKind::Connect
        }
        Error::Timeout(_) => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

/// The bytes of an answer as they come.
struct Pieces {
    pieces: mpsc::Receiver<Result<Bytes, HttpError>>,
    /// How many are to come, where that is known.
    left: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection broke {0} bytes before the end")]
struct CutShort(u64);

impl Body for Pieces {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(match ready!(self.pieces.poll_recv(cx)) {
            Some(Ok(piece)) => {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => match self.left.take() {
                Some(left @ 1..) => Some(Err(HttpError::new(HttpErrorKind::Interrupted, CutShort(left)))),
                _ => None,
            },
        })
    }
}
