//! Lowering of how a journey reaches its targets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use toml::de::DeValue;

use crate::diag::Diagnostic;
use crate::document::{TableReader, as_text};
use crate::journey::fields::{journey, tls};
use crate::journey::network::{HttpVersion, IpFamily};
use crate::journey::parse_request::attached;
use crate::journey::request::Attached;
use crate::journey::template::Template;

/// Settings as written; what is absent comes from the defaults.
#[derive(Debug, Clone, Default)]
pub struct NetworkOptions {
    pub tls: Option<TlsOptions>,
    pub http_version: Option<HttpVersion>,
    pub ip_family: Option<IpFamily>,
    pub resolve: BTreeMap<String, Vec<IpAddr>>,
    pub proxy: Option<Template>,
}

/// `tls` with its files not yet read.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    pub ca: Option<Attached>,
    pub cert: Option<Attached>,
    pub key: Option<Attached>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

pub fn read_network(table: &TableReader<'_, '_, '_>) -> NetworkOptions {
    let http_version = table.word(&journey::HTTP_VERSION, &[("1.1", HttpVersion::Http11), ("2", HttpVersion::Http2)]);
    let tls = table.open(&journey::TLS, &tls::TABLE).map(|t| read_tls(&t));
    if http_version == Some(HttpVersion::Http2) && tls.as_ref().is_some_and(|t| t.server_name.is_some()) {
        table.source.push(table.source.error(
            table.key_span(&journey::HTTP_VERSION),
            "`tls.server_name` goes with HTTP/1.1 only",
            "HTTP/2 has no name beside the one of the connection",
        ));
    }
    NetworkOptions {
        tls,
        http_version,
        ip_family: table.word(&journey::IP_FAMILY, &[("ipv4", IpFamily::V4), ("ipv6", IpFamily::V6)]),
        resolve: read_resolve(table),
        proxy: read_proxy(table),
    }
}

fn read_tls(table: &TableReader<'_, '_, '_>) -> TlsOptions {
    let source = &table.source;
    let file = |field| table.text(field).map(|path| attached(source, path));
    let (cert, key) = (file(&tls::CERT_FILE), file(&tls::KEY_FILE));
    for (one, other, there) in [
        (&tls::CERT_FILE, &tls::KEY_FILE, cert.is_some() && key.is_none()),
        (&tls::KEY_FILE, &tls::CERT_FILE, key.is_some() && cert.is_none()),
    ] {
        if there {
            let message = format!("`{}` goes with `{}`", one.name, other.name);
            source.push(source.error(table.key_span(one), message, "one is of no use without the other"));
        }
    }
    let server_name = table.text(&tls::SERVER_NAME).and_then(|text| {
        let valid = rustls::pki_types::DnsName::try_from(text.value.as_str()).is_ok();
        if !valid {
            source.push(source.error(
                text.span,
                "`server_name` is not a DNS name",
                "expected one such as shop.example",
            ));
        }
        valid.then_some(text.value)
    });
    let insecure_skip_verify = table.boolean(&tls::INSECURE_SKIP_VERIFY).unwrap_or(false);
    if insecure_skip_verify {
        source.push(
            Diagnostic::warning(
                source.place(table.key_span(&tls::INSECURE_SKIP_VERIFY)),
                "certificates are not verified",
            )
            .label("whoever stands in between can read and change everything, passwords too")
            .help("for an authority of your own: ca_file = \"…\"; for another name: server_name = \"…\""),
        );
    }
    TlsOptions { ca: file(&tls::CA_FILE), cert, key, server_name, insecure_skip_verify }
}

fn read_resolve(table: &TableReader<'_, '_, '_>) -> BTreeMap<String, Vec<IpAddr>> {
    let source = &table.source;
    let mut out = BTreeMap::new();
    for (name, node) in table.entries(&journey::RESOLVE) {
        let host = name.value.trim_end_matches('.').to_ascii_lowercase();
        if host.parse::<IpAddr>().is_ok() || host.contains([':', '/']) || host.is_empty() {
            source.push(
                source
                    .error(name.span, format!("`{}` is not a name", name.value), "expected a host such as shop.example")
                    .help("without scheme and port; the URL's port is used"),
            );
            continue;
        }
        let nodes = match node.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![node],
        };
        let mut addresses = Vec::new();
        for node in nodes {
            match as_text(source, node).map(|text| text.value.parse::<IpAddr>()) {
                Some(Ok(ip)) => addresses.push(ip),
                _ => source.push(
                    source
                        .error(node.span(), "this is not an IP address", "expected one such as \"10.0.0.7\"")
                        .help("without a port; the URL's port is used"),
                ),
            }
        }
        if !addresses.is_empty() {
            out.insert(host, addresses);
        }
    }
    out
}

fn read_proxy(table: &TableReader<'_, '_, '_>) -> Option<Template> {
    let text = table.text(&journey::PROXY)?;
    let template = Template::parse(&table.source, &text)?;
    let fine =
        |literal: &str| url::Url::parse(literal).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    if template.as_literal().is_some_and(|literal| !fine(literal)) {
        table.source.push(
            table
                .source
                .error(text.span, "`proxy` is not a URL", "expected one that starts with http:// or https://")
                .help("SOCKS proxies are not supported"),
        );
    }
    Some(template)
}
