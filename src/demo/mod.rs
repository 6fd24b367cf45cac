//! The demo's shop: a small, real web shop on loopback, with faults to switch on.
//!
//! It is a target like any other; journeyd knows nothing of it but its URL. Everything is in memory.

mod api;
mod chat;
mod faults;
mod pages;
mod shop;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::web::listener::{accept, connection};

/// Where the demo's chat takes messages.
pub const CHAT_HOOK: &str = "/hooks/chat";

/// Marks a request's connection for a reset: in the request's extensions.
#[derive(Clone, Default)]
struct ResetSwitch(Arc<AtomicBool>);

/// Serves the shop until `stop`; `flags` hears of every fault that is switched.
pub async fn serve(listener: TcpListener, flags: Option<mpsc::Sender<String>>, stop: CancellationToken) {
    let router = shop::router(flags).merge(chat::router()).merge(api::router());
    accept(listener, stop.clone(), move |stream| {
        let switch = ResetSwitch::default();
        let io = TokioIo::new(Resettable { stream, switch: switch.clone() });
        let layered = router.clone().layer(axum::Extension(switch));
        let stop = stop.clone();
        async move {
            let serving = connection().serve_connection(io, TowerToHyperService::new(layered));
            tokio::select! {
                _ = serving => {}
                () = stop.cancelled() => {}
            }
        }
    })
    .await;
}

/// A connection that can end in a TCP reset instead of a response: once the switch is set, writing fails and
/// closing does not linger.
struct Resettable {
    stream: TcpStream,
    switch: ResetSwitch,
}

impl Resettable {
    fn is_reset(&self) -> bool {
        self.switch.0.load(Ordering::Acquire)
    }
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if self.is_reset() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.is_reset() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
