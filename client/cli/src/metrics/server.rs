//! Answers whoever reads metrics: a few at once, each for a short time, and only those who know the token.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use super::exposition;
use super::follow::Known;
use super::token::Token;

/// Connections at once; others wait in the system's queue.
const CONNECTIONS: usize = 64;
/// A request has to be there within this.
const HEAD: Duration = Duration::from_secs(5);
/// And answered, and read, within this.
const WHOLE: Duration = Duration::from_secs(10);
/// Bytes and lines of a request's head: a scraper's have a tenth of that.
const HEAD_BYTES: usize = 8_192;
const HEADERS: usize = 32;
/// After a connection could not be taken, such as for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const HINT: &str = "scalems: GET /metrics has the metrics of a pilot, for whoever says its token (Authorization: Bearer TOKEN). \
    The token is in metrics.token of the pilot's directory.\n";

type Answer = Response<Full<Bytes>>;

/// Serves until the process ends.
pub(super) async fn serve(listener: TcpListener, known: Known, token: Token) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was not taken");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let (known, token) = (known.clone(), token.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &known, &token);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEADERS)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(WHOLE, served).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a request for metrics was not answered"),
                Err(_) => tracing::debug!("a request for metrics took longer than {WHOLE:?}"),
            }
            drop(seat);
        });
    }
}

fn answer(request: &Request<Incoming>, known: &Known, token: &Token) -> Answer {
    let path = request.uri().path();
    if !matches!(path, "/" | "/metrics") {
        return with(StatusCode::NOT_FOUND, TEXT, "there is /metrics\n");
    }
    if request.method() != Method::GET {
        let mut refused = with(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET it\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return refused;
    }
    if path == "/" {
        return with(StatusCode::OK, TEXT, HINT);
    }
    let said = request.headers().get(AUTHORIZATION);
    if !token.is_said(said.map(HeaderValue::as_bytes)) {
        let mut refused = with(StatusCode::UNAUTHORIZED, TEXT, HINT);
        refused.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"scalems\""),
        );
        return refused;
    }
    known.wanted.store(true, Ordering::Relaxed);
    match exposition::text(&known.state) {
        Ok(text) => with(StatusCode::OK, OPENMETRICS, text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            with(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "see the log\n")
        }
    }
}

fn with(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
