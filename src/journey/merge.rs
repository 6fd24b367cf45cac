//! A journey's settings with what `[defaults]` adds, and the files that they name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::diag::{Diagnostic, Findings};
use crate::journey::link::Library;
use crate::journey::model::{Severity, Slo};
use crate::journey::network::{Network, Tls};
use crate::journey::parse_alert::{AlertOptions, RuleOptions};
use crate::journey::parse_network::{NetworkOptions, TlsOptions};
use crate::journey::parse_settings::Settings;
use crate::journey::request::{Attached, Auth};
use crate::journey::template::Template;
use crate::timetable::Timetable;

pub struct Merged {
    pub owner: Option<String>,
    pub severity: Option<Severity>,
    pub runbook: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub enabled: bool,
    pub base_url: Option<Template>,
    pub headers: Vec<(http::HeaderName, Template)>,
    pub user_agent: Option<Template>,
    pub auth: Option<Auth>,
    pub network: NetworkOptions,
    pub error_pages: bool,
    pub timeout: Option<toml::Spanned<Duration>>,
    pub timeout_is_own: bool,
    pub schedule: Option<Timetable>,
    pub slo: Option<Slo>,
    pub alert: AlertOptions,
    pub rules: Vec<RuleOptions>,
    pub default_rules: Vec<RuleOptions>,
}

/// Own settings before defaults; labels and headers are joined key by key.
pub fn with_defaults(own: Settings, defaults: &Settings) -> Merged {
    let mut labels = defaults.labels.clone();
    labels.extend(own.labels);
    let mut headers = own.headers;
    for (name, value) in &defaults.headers {
        if !headers.iter().any(|(own, _)| own == name) {
            headers.push((name.clone(), value.clone()));
        }
    }
    let mut resolve = defaults.network.resolve.clone();
    resolve.extend(own.network.resolve);
    let network = NetworkOptions {
        tls: own.network.tls.or_else(|| defaults.network.tls.clone()),
        http_version: own.network.http_version.or(defaults.network.http_version),
        ip_family: own.network.ip_family.or(defaults.network.ip_family),
        resolve,
        proxy: own.network.proxy.or_else(|| defaults.network.proxy.clone()),
    };
    Merged {
        auth: own.auth.or_else(|| defaults.auth.clone()),
        network,
        error_pages: own.error_pages.or(defaults.error_pages).unwrap_or(true),
        owner: own.owner.or_else(|| defaults.owner.clone()),
        severity: own.severity.or(defaults.severity),
        runbook: own.runbook.or_else(|| defaults.runbook.clone()),
        labels,
        enabled: own.enabled.or(defaults.enabled).unwrap_or(true),
        base_url: own.base_url.or_else(|| defaults.base_url.clone()),
        headers,
        user_agent: own.user_agent.or_else(|| defaults.user_agent.clone()),
        timeout_is_own: own.timeout.is_some(),
        timeout: own.timeout.or_else(|| defaults.timeout.clone()),
        schedule: own.schedule.or_else(|| defaults.schedule.clone()),
        slo: match (own.slo, defaults.slo) {
            (None, None) => None,
            (own, defaults) => Some(own.unwrap_or_default().or(defaults.unwrap_or_default())),
        },
        alert: own.alert.or(&defaults.alert),
        rules: own.rules,
        default_rules: defaults.rules.clone(),
    }
}

/// Reads the files that `tls` names. What cannot be used is told.
pub fn network(options: NetworkOptions, library: &dyn Library, findings: &Findings) -> Network {
    Network {
        tls: options.tls.map(|tls| Arc::new(read_tls(&tls, library, findings))),
        http_version: options.http_version,
        ip_family: options.ip_family,
        resolve: Arc::new(options.resolve),
        proxy: options.proxy,
    }
}

fn read_tls(options: &TlsOptions, library: &dyn Library, findings: &Findings) -> Tls {
    fn read<'a>(
        file: Option<&'a Attached>,
        library: &dyn Library,
        findings: &Findings,
    ) -> Option<(&'a Attached, bytes::Bytes)> {
        let file = file?;
        // Anywhere on the machine: certificates live in /etc/ssl, and nothing of them is sent to a target.
        Some((file, library.bytes(file, false, findings)?))
    }
    let read = |file| read(file, library, findings);
    let wrong = |file: &Attached, label: &str| {
        let message = format!("{} cannot be used", file.path.value);
        findings.push(Diagnostic::error(file.place.clone(), message).label(label));
    };
    let certificates = |file: &Attached, pem: &[u8]| {
        let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        if found.is_empty() {
            wrong(file, "it holds no certificate in PEM form");
        }
        found
    };
    let client = match (read(options.cert.as_ref()), read(options.key.as_ref())) {
        (Some((cert, pem)), Some((key, key_pem))) => {
            let chain = certificates(cert, &pem);
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            match PrivateKeyDer::from_pem_slice(&key_pem) {
                _ if chain.is_empty() => None,
                Ok(found) => match CertifiedKey::from_der(chain, found, &provider) {
                    Ok(pair) => Some(Arc::new(pair)),
                    Err(rustls::Error::InconsistentKeys(_)) => {
                        wrong(key, "this key does not belong to the certificate");
                        None
                    }
                    Err(_) => {
                        wrong(key, "its key is of a kind that TLS does not use");
                        None
                    }
                },
                Err(_) => {
                    wrong(key, "it holds no private key in PEM form, or one with a password");
                    None
                }
            }
        }
        _ => None,
    };
    let flags = [("--cacert", &options.ca), ("--cert", &options.cert), ("--key", &options.key)];
    Tls {
        authorities: read(options.ca.as_ref()).map(|(file, pem)| certificates(file, &pem)),
        client,
        server_name: options.server_name.clone(),
        insecure_skip_verify: options.insecure_skip_verify,
        curl: flags.into_iter().filter_map(|(flag, file)| Some((flag, file.as_ref()?.shown_path()))).collect(),
    }
}
