//! The dashboards: every query of every panel, variable and annotation finds data in a real Prometheus that has
//! scraped a demo whose faults were switched on and off.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value as Json, json};

use crate::support::monitoring::{Prometheus, have};
use crate::support::process::Running;
use crate::support::{eventually, folder, root};

fn dashboards() -> Vec<(PathBuf, Json)> {
    let files = std::fs::read_dir(root().join("deploy/grafana/dashboards")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|f| (f.clone(), serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap()))
        .collect()
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn every_dashboard_is_complete() {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut uids = BTreeSet::new();
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 4);
    for (path, dashboard) in &dashboards {
        let place = path.file_name().unwrap().to_string_lossy().into_owned();
        let uid = text(dashboard, "uid");
        assert!(uid.len() <= 40 && uids.insert(uid), "{place}: uid {uid}");
        assert_eq!(format!("{uid}.json"), place, "a stable uid, told by the file's name");
        assert!(dashboard.get("id").is_none(), "{place}: an id belongs to one Grafana alone");
        let variables = list(&dashboard["templating"]["list"]);
        assert_eq!(variables[0]["type"], "datasource", "{place}");
        // All jobs of journeyd, not all jobs.
        assert!(variables[1]["name"] == "job" && variables[1].get("allValue").is_none(), "{place}");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = format!("{place}: {}", text(panel, "title"));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: id");
            assert!(
                !text(panel, "title").is_empty() && text(panel, "description").ends_with('.'),
                "{title}: described"
            );
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{title}: unit");
            assert_eq!(panel["datasource"], source, "{title}");
            let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            for (x, y) in
                (grid("x")..grid("x") + grid("w")).flat_map(|x| (grid("y")..grid("y") + grid("h")).map(move |y| (x, y)))
            {
                assert!(x < 24 && taken.insert((x, y)), "{title} lies over another panel at {x}, {y}");
            }
            assert!(!list(&panel["targets"]).is_empty(), "{title}: no query");
            for target in list(&panel["targets"]) {
                let expr = text(target, "expr");
                assert_eq!(target["datasource"], source, "{title}");
                assert!(expr.contains("job=~\"$job\""), "{title} mixes jobs: {expr}");
                // Runs come at their own pace: what they do is counted over the window that the reader chooses.
                let runs = ["journeyd_journey_", "journeyd_step_"].iter().any(|name| expr.contains(name));
                if expr.contains("rate(") || expr.contains("increase(") {
                    let heatmap = panel["type"] == "heatmap";
                    let wanted: &[&str] = match (runs, heatmap) {
                        // A cell is a step of the picture.
                        (_, true) => &["[$__rate_interval]"],
                        (true, false) => &["[$window]", "[$__range]"],
                        (false, false) => &["[$window]", "[$__rate_interval]"],
                    };
                    assert!(wanted.iter().any(|range| expr.contains(range)), "{title}: {expr}");
                }
                let said = text(panel, "description").contains("points lead to runs");
                assert!(!said || target["exemplar"] == true, "{title} shows no points");
            }
        }
        let names: Vec<&str> = list(&dashboard["annotations"]["list"]).iter().map(|a| text(a, "name")).collect();
        assert_eq!(names, ["Changes", "Incidents"], "{place}");
    }
}

#[test]
fn the_dashboards_are_what_the_mixin_makes() {
    if !have("jsonnet") {
        return;
    }
    let made =
        std::process::Command::new("jsonnet").arg(root().join("deploy/mixin/dashboards.jsonnet")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Json = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made.as_object().unwrap().len(), 4);
    for (path, dashboard) in dashboards() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            made[&name] == dashboard,
            "{name}: jsonnet -m deploy/grafana/dashboards deploy/mixin/dashboards.jsonnet"
        );
    }
    // Who uses the mixin sets the job and the place of the runbooks.
    let program =
        "local m = (import 'mixin.libsonnet') + { _config+:: { selector: 'job=\"x\"', runbooks: 'https://r' } };
        std.manifestJson({ alerts: m.prometheusAlerts, rules: m.prometheusRules })";
    let made = std::process::Command::new("jsonnet")
        .args(["-S", "-J", root().join("deploy/mixin").to_str().unwrap(), "-e", program])
        .output()
        .unwrap();
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(
        made.status.success() && text.contains("up{job=\\\"x\\\"}") && text.contains("https://r#journeydstale"),
        "{text}"
    );
    assert!(!text.contains("runbooks.example"), "{text}");
}

/// A daemon with what the demo lacks: https.
async fn with_a_certificate() -> (Running, tempfile::TempDir) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let journey = format!(
        "base_url = \"https://localhost:{port}\"\nhttp_version = \"1.1\"\nschedule = {{ every = \"1s\" }}\ntls = {{ ca_file = \"ca.pem\" }}\n[[steps]]\nid = \"home\"\nrequest = \"GET /\"\n"
    );
    let dir = folder(&[
        ("journeyd.toml", "journeys = [\"secure.toml\"]\n"),
        ("secure.toml", &journey),
        ("ca.pem", &certificate.pem()),
    ]);
    let daemon = Running::serve(dir.path(), &[]).await;
    (daemon, dir)
}

/// As Grafana would with everything chosen.
fn filled(expr: &str, journey: &str) -> String {
    let mut expr = expr.replace("$__rate_interval", "10s").replace("$__interval", "10s").replace("$__range", "60s");
    for (name, value) in [
        ("journey", journey),
        ("job", ".*"),
        ("variant", ".*"),
        ("location", ".*"),
        ("slo", ".*"),
        ("instance", ".*"),
        ("window", "10s"),
    ] {
        expr = expr.replace(&format!("${name}"), value);
    }
    assert!(!expr.contains('$'), "{expr}");
    expr
}

/// `label_values(series, label)`.
fn of_variable(query: &str, journey: &str) -> (String, String) {
    let inner = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).unwrap();
    let (series, label) = inner.rsplit_once(", ").unwrap();
    (filled(series, journey), label.to_owned())
}

#[tokio::test]
async fn every_query_of_every_dashboard_finds_data() {
    if !have("prometheus") {
        return;
    }
    let demo = Running::demo().await;
    let (secure, _dir) = with_a_certificate().await;
    let prometheus = Prometheus::scraping(&[&demo.url, &secure.url]).await;
    let start = prometheus.until("vector(time())", |_| true).await;
    prometheus.until("count(journeyd_journey_up)", |v| v == 6.0).await;
    demo.fault("{\"exception\": \"/search\"}").await;
    prometheus.until("sum(journeyd_alert_firing{alert=\"down\"})", |v| v >= 2.0).await;
    prometheus.until("sum(journeyd_notification_last_success_timestamp_seconds)", |v| v > 0.0).await;
    demo.fault("{\"exception\": null, \"slow_ms\": 700}").await;
    prometheus.until("sum(journeyd_alert_firing{alert=\"down\"})", |v| v == 0.0).await;
    demo.fault("{\"slow_ms\": 0}").await;
    prometheus.until("min(journeyd_journey_up)", |v| v == 1.0).await;
    // The changes are there too: the demo's flags.
    prometheus.until("count(journeyd_change_timestamp_seconds)", |v| v >= 3.0).await;
    let end = prometheus.until("vector(time())", |_| true).await;

    let mut empty = Vec::new();
    let mut results = Vec::new();
    let range = async |expr: &str| {
        let pairs = [("query", expr), ("start", &start.to_string()), ("end", &end.to_string()), ("step", "1")];
        prometheus.api("query_range", &pairs).await["result"].clone()
    };
    let any = |result: &Json| list(result).iter().any(|series| list(&series["values"]).iter().any(|v| v[1] != "NaN"));
    for (path, dashboard) in dashboards() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let one = name == "journeyd-journey.json";
        let mut panels = Vec::new();
        for variable in list(&dashboard["templating"]["list"]).iter().filter(|v| v["type"] == "query") {
            let (series, label) = of_variable(text(variable, "definition"), if one { "search" } else { ".*" });
            let values = prometheus.api(&format!("label/{label}/values"), &[("match[]", &series)]).await;
            if list(&values).iter().all(|v| v == "") {
                empty.push(format!("{name}: variable {}: {series}", text(variable, "name")));
            }
        }
        for annotation in list(&dashboard["annotations"]["list"]) {
            // journeyd's own alerts are rare; any alert will do.
            let expr = filled(text(annotation, "expr"), if one { "search" } else { ".*" })
                .replace("journey=\"journeyd\"", "journey=~\".*\"");
            if !any(&range(&expr).await) {
                empty.push(format!("{name}: annotation {}: {expr}", text(annotation, "name")));
            }
        }
        for panel in list(&dashboard["panels"]) {
            let mut found = Vec::new();
            for target in list(&panel["targets"]) {
                let raw = text(target, "expr");
                let journey = if !one {
                    ".*"
                } else if raw.contains("cert_expiry") {
                    "secure"
                } else {
                    "search"
                };
                let expr = filled(raw, journey);
                let result = range(&expr).await;
                if !any(&result) {
                    empty.push(format!("{name}: {}: {expr}", text(panel, "title")));
                }
                found.push(json!({ "legend": target["legendFormat"], "result": result }));
            }
            panels.push(json!({ "panel": panel, "queries": found }));
        }
        results
            .push(json!({ "file": name, "title": dashboard["title"], "start": start, "end": end, "panels": panels }));
    }
    assert!(empty.is_empty(), "no data:\n{}", empty.join("\n"));

    // The points in the panels are exemplars, and lead to their runs.
    let pairs = [("query", "journeyd_journey_duration_seconds_bucket"), ("start", "0"), ("end", "4000000000")];
    let exemplar = eventually("an exemplar", || async {
        let found = prometheus.api("query_exemplars", &pairs).await;
        let series = list(&found).iter().find(|s| s["seriesLabels"]["journey"] == "search")?.clone();
        Some(text(&series["exemplars"][0]["labels"], "trace_id").to_owned())
    })
    .await;
    let (_, body) = crate::support::get(&format!("{}/api/v1/runs?limit=1&trace_id={exemplar}", demo.url)).await;
    let run: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(run["runs"][0]["trace_id"], *exemplar, "{run}");

    // For tests/grafana/draw.py, which makes the README's picture of them.
    if let Some(file) = std::env::var_os("JOURNEYD_TEST_PANELS") {
        std::fs::write(file, serde_json::to_string(&results).unwrap()).unwrap();
    }
}
