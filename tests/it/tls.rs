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
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
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
    let dir = folder(&[("ca.pem", &authority.0.pem()), ("none.pem", "")]);
    let trusted = dir.path().join("ca.pem");
    let trusted = trusted.to_str().unwrap();
    for (url, roots, want) in [
        (&good, trusted, "passed"),
        (&expired, trusted, "tls_certificate (tls_expired)"),
        (&wrong, trusted, "tls_certificate (tls_name)"),
        (&good, "", "tls_certificate (tls_issuer)"),
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
