//! Accepting connections with limits. Not `axum::serve`, which never times out on slow headers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::web::access::Guard;

/// Enough for scrapers, probes and people; each one may hold a request of bounded size.
const MAX_CONNECTIONS: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 32 << 10;
const MAX_HEADERS: usize = 64;
/// How long open requests may take to end once the listener stops.
const GRACE: Duration = Duration::from_millis(500);

/// A server connection's settings, shared by the daemon and the demo shop.
pub fn connection() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
}

/// Serves `router` until `stop`, then lets open requests end.
pub async fn serve(listener: TcpListener, router: Router, guard: Arc<Guard>, stop: CancellationToken) {
    accept(listener, stop.clone(), move |stream| {
        let (router, stop) = (router.clone(), stop.clone());
        // Looked up for each connection: a reload brings a new certificate.
        let tls = guard.tls();
        async move {
            match tls {
                None => converse(stream, router, stop).await,
                Some(tls) => {
                    // Who speaks no TLS, or takes for ever, is the client's trouble.
                    if let Ok(Ok(stream)) =
                        tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await
                    {
                        converse(stream, router, stop).await;
                    }
                }
            }
        }
    })
    .await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, router: Router, stop: CancellationToken) {
    let serving = connection().serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        // Errors here are the client's: it sent nonsense or went away.
        _ = &mut serving => {}
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(GRACE, serving).await;
        }
    }
}

/// The accept loop: never ends for an error, never holds more than [`MAX_CONNECTIONS`].
pub async fn accept<F>(listener: TcpListener, stop: CancellationToken, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tracker = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let handling = handle(stream);
                tracker.spawn(async move {
                    handling.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: accepting again at once would spin.
                tracing::warn!(%error, "could not accept a connection; if descriptors ran out, raise LimitNOFILE.");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tracker.close();
    let _ = tokio::time::timeout(GRACE, tracker.wait()).await;
}
