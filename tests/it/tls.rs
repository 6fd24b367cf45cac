//! TLS: certificates that are not valid are told from handshakes that fail; expiry dates are exported.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::folder;
use crate::support::process::{Running, run};
use crate::support::sample;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "journeyd test authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server on loopback with a certificate for `name` that ends with `year`.
    async fn server(&self, name: &str, year: i32) -> String {
        self.serve(name, year, &[]).await
    }

    async fn serve(&self, name: &str, year: i32, protocols: &[&[u8]]) -> String {
        self.serve_to(name, year, protocols, None).await
    }

    /// A certificate and its key, both as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// The same, asking for a client certificate of `clients`.
    async fn serve_to(&self, name: &str, year: i32, protocols: &[&[u8]], clients: Option<&Self>) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        if name == "self.signed" {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("localhost".try_into().unwrap())];
        }
        let certificate = match name {
            "self.signed" => params.self_signed(&key).unwrap(),
            _ => params.signed_by(&key, &self.0).unwrap(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(match clients {
                None => rustls::server::WebPkiClientVerifier::no_client_auth(),
                Some(authority) => {
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add(authority.0.der().clone()).unwrap();
                    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                    let builder =
                        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                    builder.build().unwrap()
                }
            })
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(stream).await else { return };
                    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
                        return answer_h2(tls).await;
                    }
                    let mut buffer = [0; 4096];
                    while tls.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                        let _ = tls.flush().await;
                    }
                });
            }
        });
        format!("https://localhost:{port}")
    }
}

async fn answer_h2(tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut connection = h2::server::handshake(tls).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.version(), http::Version::HTTP_2);
        let response = http::Response::builder().status(200).body(()).unwrap();
        let _ = respond.send_response(response, false).and_then(|mut body| body.send_data("ok".into(), true));
    }
}

fn journey(url: &str) -> String {
    format!(
        "base_url = \"{url}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n[[steps]]\nid = \"t\"\nrequest = \"GET /\"\n"
    )
}

#[tokio::test]
async fn certificates_and_handshakes_that_fail_say_how() {
    let authority = Authority::new();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_tls = format!("https://localhost:{}", plain.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 512]).await;
        }
    });
    let (good, expired, wrong) = (
        authority.server("localhost", 2090).await,
        authority.server("localhost", 2021).await,
        authority.server("other.test", 2090).await,
    );
    let self_signed = authority.server("self.signed", 2090).await;
    let dir = folder(&[("ca.pem", &authority.0.pem()), ("none.pem", "")]);
    let trusted = dir.path().join("ca.pem");
    let trusted = trusted.to_str().unwrap();
    for (url, roots, want) in [
        (&good, trusted, "passed"),
        (&expired, trusted, "tls_certificate (tls_expired)"),
        (&wrong, trusted, "tls_certificate (tls_name)"),
        (&good, "", "tls_certificate (tls_issuer)"),
        (&self_signed, trusted, "tls_certificate (tls_issuer)"),
        (&not_tls, trusted, "tls_handshake (tls_not_tls)"),
    ] {
        std::fs::write(dir.path().join("j.toml"), journey(url)).unwrap();
        let env: &[(&str, &str)] = if roots.is_empty() { &[] } else { &[("SSL_CERT_FILE", roots)] };
        let finished = run(dir.path(), &["run", "j.toml"], env).await;
        assert!(finished.stdout.contains(want), "{url} {want}: {finished:?}");
        if want == "passed" {
            let facts: Vec<&str> = finished.stdout.lines().filter(|l| l.contains("processing")).collect();
            assert!(facts[0].contains("tls ") && facts[0].contains("resolve "), "{facts:?}");
            assert!(facts[1].contains("reused") && !facts[1].contains("tls "), "{facts:?}");
        }
    }
}

#[tokio::test]
async fn the_end_of_a_certificate_is_a_metric() {
    let authority = Authority::new();
    let url = authority.server("localhost", 2090).await;
    let dir = folder(&[
        ("ca.pem", &authority.0.pem()),
        ("journeyd.toml", "journeys = [\"j.toml\"]\n"),
        ("j.toml", &journey(&url)),
    ]);
    let roots = dir.path().join("ca.pem");
    let daemon = Running::serve(dir.path(), &[("SSL_CERT_FILE", roots.to_str().unwrap())]).await;
    let series =
        "journeyd_tls_earliest_cert_expiry_timestamp_seconds{journey=\"j\",variant=\"\",location=\"local\",step=\"s\"}";
    let text = daemon.until_metrics("the certificate's end", |m| sample(m, series).is_some()).await;
    // 2090-01-01T00:00:00Z.
    assert_eq!(sample(&text, series), Some(3_786_912_000.0));
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_over_one_connection() {
    let authority = Authority::new();
    let url = authority.serve("localhost", 2090, &[b"h2", b"http/1.1"]).await;
    let dir = folder(&[("ca.pem", &authority.0.pem()), ("j.toml", &journey(&url))]);
    let roots = dir.path().join("ca.pem");
    let finished = run(dir.path(), &["run", "j.toml"], &[("SSL_CERT_FILE", roots.to_str().unwrap())]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let facts: Vec<&str> = finished.stdout.lines().filter(|l| l.contains("processing")).collect();
    assert!(facts[0].contains("HTTP/2") && facts[0].contains("tls "), "{facts:?}");
    assert!(facts[1].contains("HTTP/2") && facts[1].contains("reused") && !facts[1].contains("tls "), "{facts:?}");
}

/// Runs `journey(url)` with these settings, and nobody trusted but who they name.
async fn run_with(settings: &str, url: &str, files: &[(&str, &str)]) -> crate::support::process::Finished {
    let dir = folder(files);
    std::fs::write(dir.path().join("j.toml"), format!("{settings}\n{}", journey(url))).unwrap();
    run(dir.path(), &["run", "j.toml"], &[]).await
}

#[tokio::test]
async fn a_journey_names_its_own_authority_name_and_client_certificate() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let good = authority.server("localhost", 2090).await;
    let named = authority.server("shop.test", 2090).await;
    let guarded = authority.serve_to("localhost", 2090, &[], Some(&clients)).await;
    let (cert, key) = clients.issue("probe");
    let (other_cert, other_key) = stranger.issue("probe");
    let ca = authority.0.pem();
    let files = [
        ("ca.pem", ca.as_str()),
        ("cert.pem", &cert),
        ("key.pem", &key),
        ("other-cert.pem", &other_cert),
        ("other-key.pem", &other_key),
    ];
    for (settings, url, want) in [
        ("tls = { ca_file = \"ca.pem\" }", &good, "passed  j"),
        ("", &good, "tls_certificate (tls_issuer)"),
        ("tls = { ca_file = \"ca.pem\", server_name = \"shop.test\" }", &named, "passed  j"),
        ("tls = { ca_file = \"ca.pem\" }", &named, "tls_certificate (tls_name)"),
        ("tls = { ca_file = \"ca.pem\", cert_file = \"cert.pem\", key_file = \"key.pem\" }", &guarded, "passed  j"),
        ("tls = { ca_file = \"ca.pem\" }", &guarded, "failed: tls_handshake"),
        (
            "tls = { ca_file = \"ca.pem\", cert_file = \"other-cert.pem\", key_file = \"other-key.pem\" }",
            &guarded,
            "failed: tls_",
        ),
    ] {
        let finished = run_with(settings, url, &files).await;
        assert!(finished.stdout.contains(want), "{settings} {want}: {finished:?}");
        assert!(!finished.stdout.contains("insecure"), "{finished:?}");
    }
    for (settings, want) in [
        (
            "tls = { cert_file = \"cert.pem\", key_file = \"other-key.pem\" }",
            "this key does not belong to the certificate",
        ),
        ("tls = { ca_file = \"key.pem\" }", "it holds no certificate in PEM form"),
        ("tls = { ca_file = \"missing.pem\" }", "the file missing.pem cannot be read"),
        ("tls = { cert_file = \"cert.pem\" }", "`cert_file` goes with `key_file`"),
    ] {
        let finished = run_with(settings, &good, &files).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.stderr.contains(want), "{want}: {finished:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_verified_is_told_at_every_turn() {
    let authority = Authority::new();
    let expired = authority.server("other.test", 2021).await;
    let finished = run_with("tls = { insecure_skip_verify = true }", &expired, &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(finished.stderr.contains("warning: certificates are not verified"), "{finished:?}");
    assert!(
        finished
            .stdout
            .contains("note: the certificate was not verified (insecure_skip_verify): invalid peer certificate"),
        "{finished:?}"
    );
}

#[tokio::test]
async fn a_certificate_that_ends_soon_fails_a_step_that_asks_for_more_days() {
    let authority = Authority::new();
    let url = authority.server("localhost", 2090).await;
    let ca = authority.0.pem();
    for (days, code) in [(14, 0), (40_000, 1)] {
        let dir = folder(&[("ca.pem", &ca)]);
        let text = format!("tls = {{ ca_file = \"ca.pem\" }}\n{}expect.tls_days_left = {days}\n", journey(&url));
        std::fs::write(dir.path().join("j.toml"), text).unwrap();
        // The second step goes over the first one's connection, whose certificate counts.
        let finished = run(dir.path(), &["run", "j.toml"], &[]).await;
        assert_eq!(finished.code, code, "{finished:?}");
        assert_eq!(finished.stdout.contains("expected  tls_days_left ≥ 40000"), code == 1, "{finished:?}");
    }
    let finished = run_with("", "http://127.0.0.1:1", &[]).await;
    assert_eq!(finished.code, 1);
}

#[tokio::test]
async fn the_http_version_is_the_one_that_the_journey_asks_for() {
    let authority = Authority::new();
    let both = authority.serve("localhost", 2090, &[b"h2", b"http/1.1"]).await;
    let ca = authority.0.pem();
    let files = [("ca.pem", ca.as_str())];
    for (version, want) in [("1.1", "HTTP/1.1"), ("2", "HTTP/2")] {
        let settings = format!("http_version = \"{version}\"\ntls = {{ ca_file = \"ca.pem\" }}");
        let finished = run_with(&settings, &both, &files).await;
        assert!(finished.code == 0 && finished.stdout.contains(want), "{version}: {finished:?}");
    }
    let old = authority.serve("localhost", 2090, &[b"http/1.1"]).await;
    let finished = run_with("http_version = \"2\"\ntls = { ca_file = \"ca.pem\" }", &old, &files).await;
    assert!(finished.stdout.contains("failed: tls_handshake"), "{finished:?}");
}
