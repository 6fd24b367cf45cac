//! The running daemon as commands reach it: where it is, what opens it, how it is known.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use serde_json::Value as Json;

use crate::cli::{DaemonArgs, Exit, disk_request, own_fault, say};
use crate::config::files::environment;
use crate::config::{self, Config, DEFAULT_LISTEN, load};
use crate::diag::{Gravity, render_all};
use crate::secret::Secret;

/// A daemon on this machine or in this network.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the daemon is, and what opens it.
pub struct Daemon {
    pub url: String,
    token: Option<Secret>,
    /// Where the token was looked for.
    token_from: String,
    pub client: reqwest::Client,
    /// Whether reads may take a token: not at this machine's own daemon unless its configuration says so.
    asks: bool,
}

/// What came of asking.
pub enum Trouble {
    /// It is not there, or no journeyd.
    Unreachable(String),
    /// It said no, and why.
    Refused(u16, String),
}

impl Trouble {
    pub fn tell(self) -> Exit {
        match self {
            Self::Unreachable(text) => own_fault(&text),
            // What was asked for is not possible, or not for this one to ask.
            Self::Refused(400..=499, text) => {
                say(&format!("error: {text}"));
                Exit::Usage
            }
            Self::Refused(_, text) => {
                say(&format!("error: {text}"));
                Exit::Failed
            }
        }
    }
}

impl Daemon {
    pub fn find(args: &DaemonArgs) -> Result<Self, String> {
        let path = config::find(args.config.config.as_deref());
        let mut request = disk_request(path, Gravity::Warning);
        // Its journeys do not matter here.
        request.select = Some(Vec::new());
        let loaded = request.config.is_some().then(|| load(&request)).transpose().map_err(|error| error.to_string());
        let config = match (loaded, &args.url) {
            (Ok(loaded), url) => {
                let (config, findings) = loaded.map_or((None, Vec::new()), |l| (l.config, l.findings));
                if config.is_none() && !findings.is_empty() && url.is_none() {
                    let told = render_all(&findings, false);
                    return Err(format!(
                        "where the daemon is cannot be told by its configuration; give --url.\n{told}"
                    ));
                }
                config
            }
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(format!("{error}\nGive the daemon's address with --url.")),
        };
        let listen = config.as_ref().map_or_else(|| DEFAULT_LISTEN.to_owned(), |c| reachable(c.listen).to_string());
        let scheme = config.as_ref().map_or("http", Config::scheme);
        let url = args.url.clone().unwrap_or_else(|| format!("{scheme}://{listen}"));
        let env = environment();
        // This daemon's token is nobody else's: it goes to the configured address and to this machine, no further.
        let own = is_own(&url, &listen);
        let of_store = || Some(config.as_ref()?.store.dir.join("api-token")).filter(|_| own);
        let file = args.token_file.clone().or_else(of_store);
        let read = |file: &Path| std::fs::read_to_string(file).ok().map(|text| Secret::new(text.trim()));
        let (token, token_from) = match (&args.token_file, env.get("JOURNEYD_TOKEN")) {
            (None, Some(token)) => (Some(Secret::new(token.trim())), "JOURNEYD_TOKEN".to_owned()),
            _ => match &file {
                Some(file) => (read(file), file.display().to_string()),
                None if own => (None, "the store's folder (no configuration says where that is)".to_owned()),
                None => (None, "this machine's daemon (it is not shown to others)".to_owned()),
            },
        };
        let given = args.token_file.is_some() || env.contains_key("JOURNEYD_TOKEN");
        let asks = given || !own || config.as_ref().is_none_or(|c| c.access.auth.is_some());
        let mut client = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_PATIENCE);
        if let Some(tls) = config.as_ref().and_then(|c| c.access.tls.as_ref()).filter(|_| own) {
            client = client.tls_backend_preconfigured(knowing(&tls.certificate).map_err(|e| e.to_string())?);
        }
        let client = client.build().map_err(|e| e.without_url().to_string())?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), token, token_from, client, asks })
    }

    pub async fn send(
        &self,
        request: reqwest::RequestBuilder,
        patience: Duration,
    ) -> Result<reqwest::Response, Trouble> {
        let unreachable = |error: reqwest::Error| {
            let cause = with_cause(&error.without_url());
            let advice = if cause.contains("builder error") {
                "Give --url with http:// or https://."
            } else if cause.contains("invalid HTTP version") {
                "Does it speak TLS? Try https://."
            } else if cause.contains("certificate") {
                "Its certificate is not trusted here: SSL_CERT_FILE names the authority; a self-signed one must be a server's (CA:FALSE)."
            } else if cause.contains("corrupt message") {
                "Does it speak TLS at all? Try http://."
            } else {
                "Is it running? Say where with --url or JOURNEYD_URL."
            };
            Trouble::Unreachable(format!("no journeyd answers at {}: {cause}\n{advice}", self.url))
        };
        let answer = request.timeout(patience).send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let problem = serde_json::from_str::<Json>(&text).ok().and_then(|v| v["error"].as_str().map(str::to_owned));
        let mut problem = problem.unwrap_or_else(|| format!("{} answered {status}: {}", self.url, text.trim()));
        let from = &self.token_from;
        match (status.as_u16(), &self.token) {
            (403, _) => {
                problem = format!(
                    "the token of {from} may only read, and this changes something: give one of scope \"write\" with \
                     --token-file FILE or JOURNEYD_TOKEN."
                );
            }
            (401, Some(_)) => {
                problem = format!(
                    "this takes a token, and the daemon does not know the one of {from}. Give another with --token-file FILE or \
                     JOURNEYD_TOKEN."
                );
            }
            (401, None) => {
                problem = format!(
                    "this takes a token, and none could be read from {from}. Give one with --token-file FILE or JOURNEYD_TOKEN."
                );
            }
            _ => {}
        }
        Err(Trouble::Refused(status.as_u16(), problem))
    }

    async fn json(&self, request: reqwest::RequestBuilder, patience: Duration) -> Result<Json, Trouble> {
        let answer = self.send(request, patience).await?;
        let text = answer.bytes().await.map_err(|e| Trouble::Unreachable(e.without_url().to_string()))?;
        serde_json::from_slice(&text)
            .map_err(|_| Trouble::Unreachable(format!("what answers at {} is not journeyd", self.url)))
    }

    pub async fn get(&self, path: &str) -> Result<Json, Trouble> {
        let request = || self.client.get(format!("{}{path}", self.url));
        match self.json(request(), PATIENCE).await {
            // Only whoever asks is shown the token, and only where reads are known to take one: the port of a daemon
            // that is down may be anybody's.
            Err(Trouble::Refused(401, _)) if self.asks => self.json(self.with_token(request()), PATIENCE).await,
            answer => answer,
        }
    }

    pub fn with_token(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    pub async fn post(&self, path: &str, body: &Json, patience: Duration) -> Result<Json, Trouble> {
        let request = self.client.post(format!("{}{path}", self.url)).body(body.to_string());
        self.json(self.with_token(request), patience).await
    }

    pub async fn delete(&self, path: &str) -> Result<Json, Trouble> {
        self.json(self.with_token(self.client.delete(format!("{}{path}", self.url))), PATIENCE).await
    }

    /// Every row of a list, page by page.
    pub async fn all(&self, path: &str, name: &str) -> Result<Vec<Json>, Trouble> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        // As many as anybody reads; whoever wants more asks the API.
        for _ in 0..100 {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=500{cursor}")).await?;
            rows.extend(page[name].as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        Ok(rows)
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// TLS that takes this certificate for what it is, whatever name it carries, and others as usual: who may read the
/// daemon's configuration knows what it shows.
fn knowing(certificate: &CertificateDer<'static>) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let usual = Verifier::new(Arc::clone(&provider))?;
    let verifier = Arc::new(Knowing { certificate: certificate.clone(), usual });
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[derive(Debug)]
struct Knowing {
    certificate: CertificateDer<'static>,
    usual: Verifier,
}

impl ServerCertVerifier for Knowing {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether a URL is that of the configured daemon, or of this machine.
fn is_own(url: &str, listen: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    match url.host() {
        Some(url::Host::Ipv4(ip)) if ip.is_loopback() => true,
        Some(url::Host::Ipv6(ip)) if ip.is_loopback() => true,
        Some(url::Host::Domain("localhost")) => true,
        _ => url.as_str().trim_end_matches('/').split_once("://").is_some_and(|(_, place)| place == listen),
    }
}

/// An address that is every interface is reached by loopback.
fn reachable(listen: std::net::SocketAddr) -> std::net::SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    std::net::SocketAddr::new(ip, listen.port())
}
