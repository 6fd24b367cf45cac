//! A real Prometheus scrapes the demo, and its answers are right: 5xx rate and latency quantiles with a fault on
//! and off. Needs Debian's `prometheus`; without it these tests say so and pass, unless
//! `JOURNEYD_TEST_REQUIRE_ALL` is set, as `./tests/run` does.

use std::process::Stdio;

use crate::support::process::Running;
use crate::support::{client, eventually, folder, get};

/// Whether `program` can be started; a missing one is an error where everything is required.
fn have(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        assert!(
            std::env::var_os("JOURNEYD_TEST_REQUIRE_ALL").is_none(),
            "{program} is not installed: ./tests/run --install"
        );
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

struct Prometheus {
    url: String,
    _child: tokio::process::Child,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    async fn scraping(target: &str) -> Self {
        let target = target.trim_start_matches("http://");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: journeyd\n    static_configs:\n      - targets: ['{target}']\n"
        );
        let dir = folder(&[("prometheus.yml", &config)]);
        // A port that was free a moment ago; Prometheus cannot choose one itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = tokio::process::Command::new("prometheus")
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--enable-feature=exemplar-storage",
                "--log.level=warn",
            ])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        eventually("Prometheus", || async { (get(&format!("{url}/-/ready")).await.0 == 200).then_some(()) }).await;
        Self { url, _child: child, _dir: dir }
    }

    /// The single value of an instant query.
    async fn query(&self, promql: &str) -> Option<f64> {
        let response =
            client().get(format!("{}/api/v1/query", self.url)).query_pairs(&[("query", promql)]).send().await.ok()?;
        let json: serde_json::Value = serde_json::from_str(&response.text().await.ok()?).ok()?;
        assert_eq!(json["status"], "success", "{promql}: {json}");
        json["data"]["result"].get(0)?["value"][1].as_str()?.parse().ok()
    }

    async fn until(&self, promql: &str, test: impl Fn(f64) -> bool) -> f64 {
        eventually(promql, || async { self.query(promql).await.filter(|v| test(*v)) }).await
    }
}

trait QueryPairs {
    fn query_pairs(self, pairs: &[(&str, &str)]) -> Self;
}

impl QueryPairs for reqwest::RequestBuilder {
    fn query_pairs(self, pairs: &[(&str, &str)]) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.unwrap();
        request.url_mut().query_pairs_mut().extend_pairs(pairs);
        Self::from_parts(client, request)
    }
}

const RATE_5XX: &str = "sum(increase(journeyd_step_responses_total{journey=\"search\",variant=\"guest\",step=\"search\",class=\"5xx\"}[12s])) \
                        / sum(increase(journeyd_step_responses_total{journey=\"search\",variant=\"guest\",step=\"search\"}[12s]))";
const P90: &str = "histogram_quantile(0.9, sum by (le) (increase(journeyd_step_duration_seconds_bucket{journey=\"search\",variant=\"guest\",step=\"product\"}[12s])))";

#[tokio::test]
async fn promql_gives_the_5xx_rate_and_latency_of_the_demo() {
    if !have("prometheus") {
        return;
    }
    let demo = Running::demo().await;
    let prometheus = Prometheus::scraping(&demo.url).await;
    prometheus.until("up{job=\"journeyd\"}", |v| v == 1.0).await;
    prometheus.until("count(journeyd_journey_up)", |v| v == 5.0).await;

    // Healthy: no 5xx, and the product page within the lowest buckets (loopback; half a second is generous).
    prometheus.until(RATE_5XX, |v| v == 0.0).await;
    prometheus.until(P90, |v| v < 0.5).await;

    // One route throws: every search answers 5xx, others do not.
    demo.fault("{\"exception\": \"/search\"}").await;
    prometheus.until(RATE_5XX, |v| v == 1.0).await;
    let login = "sum(journeyd_step_responses_total{journey=\"login\",class=\"5xx\"})";
    assert_eq!(prometheus.query(login).await, Some(0.0));
    assert_eq!(prometheus.query("min(journeyd_journey_up{journey=\"search\"})").await, Some(0.0));
    assert_eq!(
        prometheus.query("journeyd_step_http_status_code{journey=\"search\",variant=\"guest\",step=\"search\"}").await,
        Some(500.0)
    );

    // Mended: back to none.
    demo.fault("{\"exception\": null}").await;
    prometheus.until(RATE_5XX, |v| v == 0.0).await;

    // Slow by 600 ms: the quantile is within the bucket 0.5 to 0.75.
    demo.fault("{\"slow_ms\": 600}").await;
    prometheus.until(P90, |v| v > 0.6 && v <= 0.75).await;
    demo.fault("{\"slow_ms\": 0}").await;
    prometheus.until(P90, |v| v < 0.5).await;

    // The trace of a failed run is there to be followed.
    let exemplars =
        format!("{}/api/v1/query_exemplars?query=journeyd_step_failures_total&start=0&end=4000000000", prometheus.url);
    let text =
        eventually("an exemplar", || async { Some(get(&exemplars).await.1).filter(|t| t.contains("trace_id")) }).await;
    assert!(text.contains("\"reason\":\"http_5xx\""), "{text}");
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about() {
    if !have("promtool") {
        return;
    }
    let demo = Running::demo().await;
    demo.fault("{\"exception\": \"/search\"}").await;
    let text = demo.until_metrics("a failure", |m| m.contains("journeyd_step_failures_total{")).await;
    let mut child = std::process::Command::new("promtool")
        .args(["check", "metrics", "--extended"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
