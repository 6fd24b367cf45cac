//! `[server]`: where to listen, TLS, and who may read and write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use toml::de::DeValue;

use crate::config::fields::{access_token, auth, server, server_tls};
use crate::config::files::normalise;
use crate::config::notify::read_reference;
use crate::config::secrets::Secrets;
use crate::config::{DEFAULT_LISTEN, Request};
use crate::diag::{Diagnostic, Gravity};
use crate::document::{Field, TableReader, Text, as_text};
use crate::web::access::{Access, Auth, Scope, Tls};

/// What can be read, besides the API.
const PATHS: [&str; 5] = ["/", "/metrics", "/probe", "/-/healthy", "/-/ready"];
/// Fewer rounds are tried out fast by whoever has the hash (OWASP Password Storage Cheat Sheet).
const LEAST_COST: u32 = 10;
/// More keep a core busy for seconds at every login.
const MOST_COST: u32 = 14;

pub fn listen(server: Option<&TableReader<'_, '_, '_>>) -> SocketAddr {
    let default = || DEFAULT_LISTEN.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
    let Some(table) = server else { return default() };
    let Some(text) = table.text(&server::LISTEN) else { return default() };
    text.value.parse().unwrap_or_else(|_| {
        table.source.push(
            table
                .source
                .error(
                    text.span,
                    format!("`{}` is not an address", text.value),
                    format!("expected {}", server::LISTEN.expects),
                )
                .help("an IP address and a port; 0.0.0.0 is every IPv4 interface, [::] every one"),
        );
        default()
    })
}

pub fn access(server: Option<&TableReader<'_, '_, '_>>, secrets: &Secrets, request: &Request, base: &Path) -> Access {
    let Some(table) = server else { return Access::default() };
    Access {
        tls: table.open(&server::TLS, &server_tls::TABLE).and_then(|t| read_tls(&t, request, base)),
        auth: table.open(&server::AUTH, &auth::TABLE).map(|t| read_auth(&t, secrets, request)),
    }
}

fn read_tls(table: &TableReader<'_, '_, '_>, request: &Request, base: &Path) -> Option<Tls> {
    let file = |field: &'static Field, gravity: Gravity| {
        if table.get(field).is_none() {
            table.missing(field, "`tls`", "a certificate and its key go together");
        }
        let text = table.text(field)?;
        let path = normalise(&base.join(&text.value));
        match request.files.read(&path) {
            Ok(pem) => Some((text, path, pem)),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                let mut unread = table.source.error(text.span, message, "this file");
                unread.gravity = gravity;
                table.source.push(unread);
                None
            }
        }
    };
    // A key may be the service's alone: whoever checks by hand, or asks the daemon for something, does without it.
    let (certificate, key) = (file(&server_tls::CERT_FILE, Gravity::Error), file(&server_tls::KEY_FILE, request.unset));
    let (cert_text, cert_path, cert_pem) = certificate?;
    let wrong = |span, path: &Path, label: String| {
        table.source.push(table.source.error(span, format!("{} cannot be used", path.display()), label));
    };
    // All of it: without one in the middle, clients could not follow the chain.
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect();
    let Ok(chain) = chain else {
        wrong(cert_text.span, &cert_path, "a certificate in it is broken".to_owned());
        return None;
    };
    let Some(first) = chain.first().cloned() else {
        wrong(cert_text.span, &cert_path, "it holds no certificate in PEM form".to_owned());
        return None;
    };
    let Some((key_text, key_path, key_pem)) = key else {
        return Some(Tls { config: None, certificate: first });
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()) else {
        wrong(key_text.span, &key_path, "it holds no unencrypted private key in PEM form".to_owned());
        return None;
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let built = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    match built {
        Ok(mut config) => {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Some(Tls { config: Some(Arc::new(config)), certificate: first })
        }
        Err(error) => {
            let message = format!("certificate and key cannot be used together: {error}");
            table
                .source
                .push(table.source.error(key_text.span, message, "the key").other(cert_text.span, "the certificate"));
            None
        }
    }
}

fn read_auth(table: &TableReader<'_, '_, '_>, secrets: &Secrets, request: &Request) -> Auth {
    let mut users = BTreeMap::new();
    for (name, node) in table.entries(&auth::USERS) {
        if name.value.is_empty() || name.value.contains(|c: char| c == ':' || c.is_control()) {
            let message = format!("`{}` cannot be a user's name", name.value);
            table.source.push(table.source.error(
                name.span,
                message,
                "basic authentication cannot carry it (RFC 7617)",
            ));
            continue;
        }
        let hash = match as_text(&table.source, node) {
            Some(text) => {
                // Whoever has the hash can try passwords at it.
                table.source.file.hide(std::slice::from_ref(&text.span));
                Some((text.value, text.span))
            }
            None => read_reference(&table.source, node, "a user's hash", secrets, request.unset)
                .map(|(secret, span)| (secret.expose().to_owned(), span)),
        };
        let Some((hash, span)) = hash else { continue };
        match hash.parse::<bcrypt::HashParts>() {
            Ok(parts) if (LEAST_COST..=MOST_COST).contains(&parts.get_cost()) => {
                users.insert(name.value, hash);
            }
            Ok(parts) => table.source.push(
                table
                    .source
                    .error(
                        span,
                        format!("the hash of `{}` has a cost of {}", name.value, parts.get_cost()),
                        format!("expected {LEAST_COST} to {MOST_COST}"),
                    )
                    .help("htpasswd -nBC 10 NAME makes one"),
            ),
            Err(_) => table.source.push(
                table
                    .source
                    .error(span, format!("what `{}` has is no bcrypt hash", name.value), "expected $2b$… or $2y$…")
                    .help("never the password itself; htpasswd -nBC 10 NAME makes a hash"),
            ),
        }
    }
    let mut tokens = Vec::new();
    for token in table.tables(&auth::TOKENS, &access_token::TABLE) {
        if token.get(&access_token::SECRET).is_none() {
            token.missing(
                &access_token::SECRET,
                "the token",
                "for example { secret = \"api_token\", scope = \"read\" }",
            );
        }
        let scope = token.word(&access_token::SCOPE, &[("read", Scope::Read), ("write", Scope::Write)]);
        if let Some(name) = token.text(&access_token::SECRET)
            && let Some((secret, span)) = secrets.named(&token.source, &name, "a token", request.unset)
        {
            if secret.expose().len() < 16 {
                token.source.push(
                    token
                        .source
                        .error(span, "this token is too short", "expected at least 16 characters")
                        .help("openssl rand -hex 32 makes one"),
                );
                continue;
            }
            if secret.expose().contains(|c: char| !c.is_ascii_graphic()) {
                let message = "this token cannot stand in a header";
                token.source.push(token.source.error(span, message, "expected one line of visible ASCII characters"));
                continue;
            }
            tokens.push((secret, scope.unwrap_or(Scope::Read)));
        }
    }
    let excluded = table.texts(&auth::EXCLUDED_PATHS).unwrap_or_default();
    for text in &excluded {
        check_path(table, text);
    }
    if !matches!(table.get(&auth::USERS).map(|n| n.get_ref()), Some(DeValue::Table(t)) if !t.is_empty())
        && table.get(&auth::TOKENS).is_none()
    {
        table.source.push(
            Diagnostic::warning(table.source.place(table.span.clone()), "`auth` names nobody")
                .label("only the token in the store's folder opens anything"),
        );
    }
    Auth { users, tokens, excluded_paths: excluded.into_iter().map(|text| text.value).collect() }
}

/// Paths are compared whole, so what looks like a pattern would open nothing.
fn check_path(table: &TableReader<'_, '_, '_>, text: &Text) {
    let place = table.source.place(text.span.clone());
    if !text.value.starts_with('/') || text.value.contains(['*', '?']) {
        table.source.push(
            Diagnostic::error(place, format!("`{}` is no path", text.value))
                .label("expected for example \"/metrics\"")
                .help("a path is compared whole: no pattern, no query"),
        );
    } else if !PATHS.contains(&text.value.as_str()) && !text.value.starts_with("/api/v1/") {
        table.source.push(
            Diagnostic::warning(place, format!("nothing can be read at `{}`", text.value))
                .label("no such path")
                .help(format!("there are {} and those of /api/v1/", PATHS.join(", "))),
        );
    }
}
