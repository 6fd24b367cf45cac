//! The sender: HTTP for every dialect, SMTP for mail. It is told what to send and answers how it ended; when, whether
//! again and what it means is decided elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use lettre::message::{MultiPart, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::clock::{Timestamp, now};
use crate::notify::backlog::Sending;
use crate::notify::mail::{self, Encryption, Mailbox};
use crate::notify::retry::{End, Trouble};
use crate::notify::wire::{Wire, second_try, watchdog, wires};
use crate::notify::{Dialect, Receiver};
use crate::secret::redact_for_sinks;

/// From connecting to the last byte of the answer (Standard Webhooks: 15 to 30 s).
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an answer, this much is read: error texts are short, and nobody may make us read more.
const MOST_ANSWER: usize = 4096;

/// Sends messages.
#[derive(Clone)]
pub struct Sender {
    /// `None`: delivers into the log.
    parts: Option<Arc<Parts>>,
}

struct Parts {
    tls: rustls::ClientConfig,
    resolver: Arc<dyn reqwest::dns::Resolve>,
    /// By proxy and authorities: receivers with the same share one.
    clients: Mutex<HashMap<(String, Vec<u8>), reqwest::Client>>,
}

impl Sender {
    /// With the TLS set-up and the resolver that everything else uses.
    pub fn new(
        tls: rustls::ClientConfig,
        resolver: impl reqwest::dns::Resolve + 'static,
    ) -> Result<Self, reqwest::Error> {
        let parts = Parts { tls, resolver: Arc::new(resolver), clients: Mutex::default() };
        // What cannot be set up at all is told at the start, not with the first message.
        parts.build("", &[]).map_err(reqwest::Error::without_url)?;
        Ok(Self { parts: Some(Arc::new(parts)) })
    }

    /// One that delivers into the log.
    pub fn dry() -> Self {
        Self { parts: None }
    }

    /// Sends a message to a receiver, once.
    pub async fn send(&self, receiver: &Receiver, sending: &Sending) -> End {
        let at = now();
        let name = sending.receiver.as_str();
        let Some(parts) = &self.parts else {
            let body = match wires(receiver, name, &sending.id, &sending.message, at) {
                Ok(wires) => wires.into_iter().next().map(|wire| wire.body).unwrap_or_default(),
                Err(_) => mail::compose(&sending.message, &sending.id, receiver.zone).text,
            };
            let body = redact_for_sinks(&body);
            tracing::info!(
                receiver = name,
                message = sending.message.headline(),
                body,
                "would be sent; the dry run takes it as delivered."
            );
            return End::Answer { status: 200, retry_after: None, body: String::new() };
        };
        if let (Dialect::Email, Some(mailbox)) = (receiver.dialect, &receiver.mailbox) {
            return parts.mail(mailbox, receiver, sending).await;
        }
        let end = match wires(receiver, name, &sending.id, &sending.message, at) {
            Ok(wires) => parts.post_all(receiver, &wires).await,
            // What cannot be written down will not be any better next time.
            Err(problem) => return End::Answer { status: 400, retry_after: None, body: problem },
        };
        if let End::Answer { status: 400, body, .. } = &end
            && let Some(wire) = second_try(receiver, &sending.message, body)
        {
            return parts.post_all(receiver, &[wire]).await;
        }
        end
    }

    /// Tells a receiver that journeyd lives.
    pub async fn watchdog(&self, receiver: &Receiver, location: &str, started: Timestamp) -> End {
        let Some(parts) = &self.parts else {
            return End::Answer { status: 200, retry_after: None, body: String::new() };
        };
        parts.post_all(receiver, &watchdog(receiver, location, started, now())).await
    }

    /// One GET, as a heartbeat is.
    pub async fn get(&self, url: &crate::secret::Secret) -> End {
        let Some(parts) = &self.parts else {
            return End::Answer { status: 200, retry_after: None, body: String::new() };
        };
        let client = match parts.client("", &[]) {
            Ok(client) => client,
            Err(end) => return end,
        };
        match client.get(url.expose()).send().await {
            Ok(answer) => read(answer).await,
            Err(error) => end_of(&error.without_url()),
        }
    }
}

impl Parts {
    fn build(&self, proxy: &str, ca: &[u8]) -> Result<reqwest::Client, reqwest::Error> {
        let tls = if ca.is_empty() { self.tls.clone() } else { trusting(&self.tls, ca) };
        let mut builder = reqwest::Client::builder()
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
            .dns_resolver(Arc::clone(&self.resolver))
            .tls_backend_preconfigured(tls);
        if !proxy.is_empty() {
            builder = builder.proxy(reqwest::Proxy::all(proxy)?);
        }
        builder.build()
    }

    fn client(&self, proxy: &str, ca: &[u8]) -> Result<reqwest::Client, End> {
        let key = (proxy.to_owned(), ca.to_vec());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(proxy, ca).map_err(|error| end_of(&error.without_url()))?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Every request; the answer is the first that is not a yes. Another instance that failed is told again with all.
    async fn post_all(&self, receiver: &Receiver, wires: &[Wire]) -> End {
        let proxy = receiver.proxy.as_ref().map_or("", crate::secret::Secret::expose);
        let ca = receiver.ca.as_ref().map_or(&[][..], |pem| pem.as_slice());
        let client = match self.client(proxy, ca) {
            Ok(client) => client,
            Err(end) => return end,
        };
        let ends = futures_util::future::join_all(wires.iter().map(|wire| post(&client, wire))).await;
        let good = |end: &End| matches!(end, End::Answer { status: 200..=299, .. });
        let bad = ends.iter().find(|end| !good(end));
        bad.or(ends.first()).cloned().unwrap_or_else(|| End::Answer {
            status: 400,
            retry_after: None,
            body: "the receiver has no URL".to_owned(),
        })
    }

    async fn mail(&self, mailbox: &Mailbox, receiver: &Receiver, sending: &Sending) -> End {
        let broken = |detail: String| End::Answer { status: 550, retry_after: None, body: redact_for_sinks(&detail) };
        let letter = match letter(mailbox, receiver, sending) {
            Ok(letter) => letter,
            Err(problem) => return broken(problem),
        };
        let transport = match transport(mailbox, receiver.ca.as_ref().map(|pem| pem.as_slice())) {
            Ok(transport) => transport,
            Err(problem) => return broken(problem),
        };
        match tokio::time::timeout(mail::TIMEOUT, transport.send(letter)).await {
            Err(_) => End::Unknown { trouble: Trouble::Timeout, detail: "no answer within 30 s".to_owned() },
            Ok(Ok(answer)) => {
                let body = answer.message().collect::<Vec<_>>().join(" ");
                End::Answer { status: u16::from(answer.code()), retry_after: None, body: redact_for_sinks(&body) }
            }
            Ok(Err(error)) => {
                let detail = redact_for_sinks(&with_causes(&error));
                match error.status() {
                    Some(code) => End::Answer { status: u16::from(code), retry_after: None, body: detail },
                    None if error.is_timeout() => End::Unknown { trouble: Trouble::Timeout, detail },
                    None => End::NotReached { trouble: Trouble::Network, detail },
                }
            }
        }
    }
}

fn letter(mailbox: &Mailbox, receiver: &Receiver, sending: &Sending) -> Result<lettre::Message, String> {
    let mail = mail::compose(&sending.message, &sending.id, receiver.zone);
    let address = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
    let mut builder = lettre::Message::builder()
        .from(address(&mailbox.from)?)
        .subject(mail.subject)
        .message_id(Some(mail.message_id))
        .in_reply_to(mail.thread.clone())
        .references(mail.thread)
        .date(std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(sending.message.at.micros()).unwrap_or(0)));
    for to in &mailbox.to {
        builder = builder.to(address(to)?);
    }
    for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
        let name = header::HeaderName::new_from_ascii_str(name);
        builder = builder.raw_header(header::HeaderValue::new(name, value.to_owned()));
    }
    builder.multipart(MultiPart::alternative_plain_html(mail.text, mail.html)).map_err(|error| error.to_string())
}

fn transport(mailbox: &Mailbox, ca: Option<&[u8]>) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = || {
        let mut builder = TlsParameters::builder(mailbox.host.clone());
        if let Some(pem) = ca {
            let certificate = Certificate::from_pem(pem).map_err(|error| error.to_string())?;
            builder = builder.add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|error| error.to_string())
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(mailbox.host.as_str())
        .port(mailbox.port)
        .timeout(Some(TIMEOUT))
        .tls(match mailbox.encryption {
            Encryption::StartTls => Tls::Required(tls()?),
            Encryption::Implicit => Tls::Wrapper(tls()?),
            Encryption::None => Tls::None,
        });
    if let (Some(user), Some(password)) = (&mailbox.user, &mailbox.password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}

/// The same set-up with other authorities.
fn trusting(usual: &rustls::ClientConfig, pem: &[u8]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    let provider = Arc::clone(usual.crypto_provider());
    match rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_root_certificates(roots).with_no_client_auth(),
        Err(_) => usual.clone(),
    }
}

async fn post(client: &reqwest::Client, wire: &Wire) -> End {
    let mut request = client.post(wire.url.expose()).header(CONTENT_TYPE, &wire.content_type);
    for (name, value) in &wire.headers {
        request = request.header(*name, value.expose());
    }
    match request.body(wire.body.clone()).send().await {
        Ok(answer) => read(answer).await,
        Err(error) => end_of(&error.without_url()),
    }
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

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    detail
}

fn end_of(error: &reqwest::Error) -> End {
    let detail = redact_for_sinks(&with_causes(error));
    let trouble = if error.is_timeout() { Trouble::Timeout } else { Trouble::Network };
    if error.is_connect() || error.is_builder() {
        End::NotReached { trouble, detail }
    } else {
        End::Unknown { trouble, detail }
    }
}
