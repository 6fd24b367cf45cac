//! The sender: one HTTP client for every dialect. It is told what to send and answers how it ended; when, whether
//! again and what it means is decided elsewhere.

use std::error::Error as _;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};

use crate::clock::now;
use crate::notify::Receiver;
use crate::notify::backlog::Sending;
use crate::notify::message::Message;
use crate::notify::retry::{End, Trouble};
use crate::notify::webhook::signature;
use crate::secret::redact_for_sinks;

/// From connecting to the last byte of the answer (Standard Webhooks: 15 to 30 s).
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer, this much is read: error texts are short, and nobody may make us read more.
const MOST_ANSWER: usize = 4096;

/// Sends messages.
#[derive(Clone)]
pub struct Sender {
    client: Option<reqwest::Client>,
}

impl Sender {
    /// With the TLS set-up and the resolver that everything else uses.
    pub fn new(
        tls: rustls::ClientConfig,
        resolver: impl reqwest::dns::Resolve + 'static,
    ) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            // A redirect is a wrong URL; following it would hand the message to whoever it names.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .tcp_nodelay(true)
            // Messages are rare; a kept connection would be closed by the other side in the middle of one.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("journeyd/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(std::sync::Arc::new(resolver))
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(reqwest::Error::without_url)?;
        Ok(Self { client: Some(client) })
    }

    /// One that delivers into the log.
    pub fn dry() -> Self {
        Self { client: None }
    }

    /// Sends a message to a receiver, once.
    pub async fn send(&self, receiver: &Receiver, sending: &Sending) -> End {
        let Some(client) = &self.client else {
            let body = receiver.dialect.render(&sending.message);
            tracing::info!(receiver = %sending.receiver, message = sending.message.headline(), body, "would be sent; the dry run takes it as delivered.");
            return End::Answer { status: 200, retry_after: None, body: String::new() };
        };
        match request(client, receiver, &sending.id, &sending.message).send().await {
            Ok(answer) => read(answer).await,
            Err(error) => end_of(&error.without_url()),
        }
    }
}

fn request(client: &reqwest::Client, receiver: &Receiver, id: &str, message: &Message) -> reqwest::RequestBuilder {
    let body = receiver.dialect.render(message);
    let at = now();
    let mut request = client
        .post(receiver.url.expose())
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.micros().div_euclid(1_000_000).to_string());
    if let Some(signature) = receiver.signing_key.as_ref().and_then(|key| signature(key, id, at, &body)) {
        request = request.header("webhook-signature", signature);
    }
    request.body(body)
}

async fn read(mut answer: reqwest::Response) -> End {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    // The status is the answer; a body that breaks off changes nothing.
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(MOST_ANSWER - body.len())]);
        if body.len() >= MOST_ANSWER {
            break;
        }
    }
    // Many servers echo the path that they were asked for, and a chat webhook's path is its secret.
    End::Answer { status, retry_after, body: redact_for_sinks(&String::from_utf8_lossy(&body)) }
}

fn end_of(error: &reqwest::Error) -> End {
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    let detail = redact_for_sinks(&detail);
    let trouble = if error.is_timeout() { Trouble::Timeout } else { Trouble::Network };
    if error.is_connect() || error.is_builder() {
        End::NotReached { trouble, detail }
    } else {
        End::Unknown { trouble, detail }
    }
}
