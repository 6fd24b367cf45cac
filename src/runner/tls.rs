//! TLS set-up: roots and verifier are built once, each run gets a copy that notes what it sees.
//!
//! A run's copy costs microseconds; building one from the system's roots costs milliseconds. Tickets are never
//! kept: every run makes a full handshake, as a first visit does.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, NamedGroup, RootCertStore, SignatureScheme};

use crate::clock::Timestamp;
use crate::journey::network::{HttpVersion, Network};
use crate::runner::timing::{Mark, Marks};

/// No TLS target can be verified.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up TLS: {0}")]
pub struct RootsProblem(#[from] rustls::Error);

/// What all runs share.
#[derive(Clone)]
pub struct SharedTls {
    verifier: Arc<dyn ServerCertVerifier>,
    config: Arc<ClientConfig>,
}

impl SharedTls {
    /// The system's roots; Mozilla's, built in, where the system has none (as in an empty container).
    pub fn from_system() -> Result<Self, RootsProblem> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match rustls_platform_verifier::Verifier::new(Arc::clone(&provider))
        {
            Ok(verifier) => Arc::new(verifier),
            Err(error) => {
                tracing::info!(%error, "no root certificates on this system; using the built-in ones");
                built_in(&provider)?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { verifier, config: Arc::new(config) })
    }

    /// A configuration for one run, and where it notes certificates.
    pub fn for_run(&self, marks: &Marks, network: &Network) -> (ClientConfig, Certificates) {
        let certificates = Certificates::default();
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(Arc::new(NoTickets(marks.clone())));
        let own = network.tls.as_deref();
        let verifier = own.and_then(|tls| trusting(tls.authorities.as_deref()?)).unwrap_or(Arc::clone(&self.verifier));
        config.dangerous().set_certificate_verifier(Arc::new(NotingVerifier {
            inner: verifier,
            lenient: own.is_some_and(|tls| tls.insecure_skip_verify),
            certificates: certificates.clone(),
        }));
        if let Some(pair) = own.and_then(|tls| tls.client.as_ref()) {
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(pair)));
        }
        let only = if own.is_some_and(|tls| tls.server_name.is_some()) {
            Some(HttpVersion::Http11)
        } else {
            network.http_version
        };
        match only {
            Some(HttpVersion::Http11) => config.alpn_protocols = vec![b"http/1.1".to_vec()],
            Some(HttpVersion::Http2) => config.alpn_protocols = vec![b"h2".to_vec()],
            None => {}
        }
        (config, certificates)
    }
}

/// A verifier that trusts these authorities alone; `None` when they cannot be used, which loading would have told.
fn trusting(authorities: &[CertificateDer<'static>]) -> Option<Arc<dyn ServerCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    Some(verifier)
}

fn built_in(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, RootsProblem> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(verifier)
}

/// The earliest end of validity in the last chain seen, by server name.
#[derive(Debug, Clone, Default)]
pub struct Certificates(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    expiries: Vec<(String, Timestamp)>,
    /// What verification found and `insecure_skip_verify` let pass.
    ignored: Option<String>,
}

impl Certificates {
    pub fn earliest_expiry(&self, host: &str) -> Option<Timestamp> {
        self.lock().expiries.iter().rev().find(|(name, _)| name == host).map(|(_, at)| *at)
    }

    fn note(&self, name: &ServerName<'_>, chain: impl Iterator<Item = Timestamp>) {
        if let Some(earliest) = chain.min() {
            self.lock().expiries.push((name.to_str().into_owned(), earliest));
        }
    }

    /// The problem that was let pass since the last call.
    pub fn take_ignored(&self) -> Option<String> {
        self.lock().ignored.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Timestamp::from_secs(parsed.validity().not_after.timestamp()))
}

/// Passes every question on, and notes the chain first: an expired one is worth knowing too.
#[derive(Debug)]
struct NotingVerifier {
    inner: Arc<dyn ServerCertVerifier>,
    /// `insecure_skip_verify`: problems are noted and let pass.
    lenient: bool,
    certificates: Certificates,
}

impl NotingVerifier {
    fn pass(&self, error: rustls::Error) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.lenient { Ok(HandshakeSignatureValid::assertion()) } else { Err(error) }
    }
}

impl ServerCertVerifier for NotingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).filter_map(not_after);
        self.certificates.note(server_name, chain);
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.lenient => {
                self.certificates.lock().ignored = Some(error.to_string());
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // A certificate that cannot even be read has no key to check with.
        self.inner.verify_tls12_signature(message, cert, dss).or_else(|error| self.pass(error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // A certificate that cannot even be read has no key to check with.
        self.inner.verify_tls13_signature(message, cert, dss).or_else(|error| self.pass(error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Keeps nothing. Being asked for a ticket is the first thing that happens in a handshake, so this is also
/// where TCP ends and TLS begins.
struct NoTickets(Marks);

impl fmt::Debug for NoTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoTickets")
    }
}

impl ClientSessionStore for NoTickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.set(Mark::TlsStarted);
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.set(Mark::TlsStarted);
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.set(Mark::TlsStarted);
        None
    }
}
