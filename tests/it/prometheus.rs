//! A real Prometheus scrapes the demo, and its answers are right: 5xx rate and latency quantiles with a fault on
//! and off. The exposition is what docs/metrics.md says, and what others' parsers take.

use std::collections::BTreeSet;
use std::process::Stdio;

use crate::support::monitoring::{Prometheus, have};
use crate::support::process::{Running, journeyd};
use crate::support::target::{Act, Target, response};
use crate::support::{client, eventually, folder, get, python, root, sample};

const RATE_5XX: &str = "sum(increase(journeyd_step_responses_total{journey=\"search\",variant=\"guest\",step=\"search\",class=\"5xx\"}[12s])) \
                        / sum(increase(journeyd_step_responses_total{journey=\"search\",variant=\"guest\",step=\"search\"}[12s]))";
const P90: &str = "histogram_quantile(0.9, sum by (le) (increase(journeyd_step_duration_seconds_bucket{journey=\"search\",variant=\"guest\",step=\"product\"}[12s])))";

#[tokio::test]
async fn promql_gives_the_5xx_rate_and_latency_of_the_demo() {
    if !have("prometheus") {
        return;
    }
    let demo = Running::demo().await;
    let prometheus = Prometheus::scraping(&[&demo.url]).await;
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

/// The labels that docs/metrics.md gives for each metric.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| `journeyd_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|l| !l.is_empty() && *l != "label_…").flat_map(|label| match label {
            "J" => vec!["journey", "variant", "location"],
            "S" => vec!["journey", "variant", "location", "step"],
            other => vec![other],
        });
        (cells[1].trim_matches('`').to_owned(), labels.map(str::to_owned).collect())
    })
    .collect()
}

/// Metric and label names of each line.
fn shown(exposition: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = exposition.lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|line| {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
            let inner = rest.strip_prefix('{').and_then(|r| r.split_once("} ")).map_or("", |(labels, _)| labels);
            let labels = inner.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
            (name.to_owned(), labels.collect())
        })
        .collect()
}

#[tokio::test]
async fn every_metric_has_the_labels_that_its_row_says_and_every_row_its_metric() {
    let demo = Running::demo().await;
    demo.fault("{\"exception\": \"/search\"}").await;
    let text = demo
        .until_metrics("a message", |m| {
            m.contains("journeyd_notification_last_success_timestamp_seconds{")
                && m.contains("journeyd_slo_error_budget_remaining_ratio{")
                && m.contains("journeyd_store_size_bytes ")
        })
        .await;
    let rows = documented();
    for (name, labels) in shown(&text).iter().filter(|(name, _)| name.starts_with("journeyd_")) {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s).filter(|f| rows.iter().any(|(n, _)| n == f)));
        let row = rows.iter().find(|(n, _)| n == family.unwrap_or(name)).unwrap_or_else(|| panic!("{name} has no row"));
        let mut labels: BTreeSet<String> = labels.iter().filter(|l| !l.starts_with("label_")).cloned().collect();
        if name.ends_with("_bucket") {
            assert!(labels.remove("le"), "{name}");
        }
        assert_eq!(labels, row.1, "{name}");
    }
    // Without https there is no certificate.
    for (name, _) in rows.iter().filter(|(n, _)| n != "journeyd_tls_earliest_cert_expiry_timestamp_seconds") {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not shown");
    }
}

#[tokio::test]
async fn an_independent_parser_reads_the_same_from_openmetrics() {
    let Some(python) = python() else { return };
    let demo = Running::demo().await;
    demo.fault("{\"exception\": \"/search\"}").await;
    demo.until_metrics("a failure", |m| m.contains("journeyd_step_failures_total{")).await;
    let accept = "application/openmetrics-text; version=1.0.0";
    let answer = client().get(format!("{}/metrics", demo.url)).header("accept", accept).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let dir = folder(&[("metrics.txt", &text)]);
    let program = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = {f.name: f for f in text_string_to_metric_families(open(sys.argv[1]).read())}
assert families['journeyd_journey_runs'].type == 'counter', families.keys()
assert families['journeyd_step_duration_seconds'].type == 'histogram'
exemplars = [s.exemplar for f in families.values() for s in f.samples if s.exemplar]
assert exemplars and all(len(e.labels['trace_id']) == 32 and e.timestamp for e in exemplars), exemplars
print(sum(len(f.samples) for f in families.values()))
";
    let done =
        std::process::Command::new(python).args(["-c", program]).arg(dir.path().join("metrics.txt")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let samples: usize = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
    assert_eq!(samples, text.lines().filter(|l| !l.starts_with('#')).count());
}

/// As docs/with-prometheus.md has it: what was a target of blackbox_exporter is a journey.
#[tokio::test]
async fn dashboards_of_blackbox_exporter_find_their_names_at_probe() {
    if !have("prometheus") {
        return;
    }
    let demo = Running::demo().await;
    demo.until_metrics("all have run", |m| m.matches("\njourneyd_journey_up{").count() == 5).await;
    let address = demo.url.trim_start_matches("http://");
    let snippet = std::fs::read_to_string(root().join("deploy/prometheus/scrape-probe.yml")).unwrap();
    assert!(snippet.contains("127.0.0.1:15769"), "{snippet}");
    let jobs = snippet.lines().filter(|l| !l.starts_with('#') && *l != "scrape_configs:");
    let jobs = jobs.collect::<Vec<_>>().join("\n").replace("127.0.0.1:15769", address) + "\n";
    let prometheus = Prometheus::with(&jobs).await;
    prometheus.until("probe_success{instance=\"login\"}", |v| v == 1.0).await;
    demo.fault("{\"exception\": \"/search\"}").await;
    prometheus.until("probe_success{instance=\"search/guest\"}", |v| v == 0.0).await;
    assert_eq!(prometheus.query("probe_http_status_code{instance=\"search/guest\"}").await, Some(500.0));
    // What the widely used dashboards 7587, 13659 and 18538 of grafana.com ask for, but for certificates.
    for name in [
        "probe_success",
        "probe_duration_seconds",
        "probe_dns_lookup_time_seconds",
        "probe_http_status_code",
        "probe_http_version",
        "probe_http_ssl",
        "probe_http_redirects",
        "probe_ip_protocol",
        "probe_failed_due_to_regex",
        "probe_http_duration_seconds{phase=\"resolve\"}",
        "probe_http_duration_seconds{phase=\"connect\"}",
        "probe_http_duration_seconds{phase=\"tls\"}",
        "probe_http_duration_seconds{phase=\"processing\"}",
        "probe_http_duration_seconds{phase=\"transfer\"}",
    ] {
        assert!(prometheus.query(name).await.is_some(), "{name}");
    }
    let missing = get(&format!("{}/probe?journey=nothing", demo.url)).await;
    assert_eq!(missing, (404, "there is no journey `nothing`\n".to_owned()));
    let vague = get(&format!("{}/probe?journey=search", demo.url)).await;
    assert!(vague.0 == 404 && vague.1.contains("search/guest"), "{vague:?}");
    assert_eq!(get(&format!("{}/probe", demo.url)).await.0, 400);
}

#[tokio::test]
async fn counters_never_go_down_while_it_lives_and_begin_anew_with_it() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let journey = |more: &str| {
        format!(
            "base_url = \"{}\"\n{more}schedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n",
            target.url
        )
    };
    let dir = folder(&[("journeyd.toml", "journeys = [\"*.toml\"]\n"), ("a.toml", &journey(""))]);
    let runs = "journeyd_journey_runs_total{journey=\"a\",variant=\"\",location=\"local\"}";
    let mut daemon = Running::serve(dir.path(), &[]).await;
    let before = daemon.until_metrics("three runs", |m| sample(m, runs).is_some_and(|v| v >= 3.0)).await;
    // Other settings, a journey more, a journey less, disabled and back: what was counted stays counted.
    let reload = async |name: &str, text: Option<&str>, what: &str, reloaded: &dyn Fn(&str) -> bool| {
        let path = dir.path().join(name);
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        daemon.signal("HUP");
        daemon.until_metrics(what, reloaded).await
    };
    let mut last = sample(&before, runs).unwrap();
    let enabled = "journeyd_journey_enabled{journey=\"a\"} ";
    for text in [
        reload("b.toml", Some(&journey("")), "one more", &|m| m.contains("journey=\"b\"")).await,
        reload("b.toml", None, "one less", &|m| !m.contains("journey=\"b\"")).await,
        reload("a.toml", Some(&journey("enabled = false\n")), "disabled", &|m| m.contains(&format!("{enabled}0")))
            .await,
        reload("a.toml", Some(&journey("title = \"A\"\n")), "back", &|m| m.contains(&format!("{enabled}1"))).await,
    ] {
        let now = sample(&text, runs).expect("the series stays");
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    // A restart is a clean reset: counters begin at zero, and what Prometheus must not lose is there at once.
    let mut command = journeyd(&["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0"]);
    std::fs::write(dir.path().join("a.toml"), journey("").replace("\"1s\"", "\"1h\"")).unwrap();
    command.current_dir(dir.path());
    let again = Running::start(command, "Metrics at ").await;
    let text = again.metrics().await;
    assert_eq!(sample(&text, runs), Some(0.0));
    assert_eq!(sample(&text, &runs.replace("runs_total", "up")), Some(1.0), "restored from the store");
}

/// The budget that `check` adds up is never less than what is shown, receivers and their own alerts included.
#[tokio::test]
async fn no_more_series_are_shown_than_the_budget_adds_up() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let journey = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[slo]\nobjective = 99\nlatency = \"1s\"\n[[variants]]\nid = \"a\"\n[[variants]]\nid = \"b\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n",
        target.url
    );
    let receivers: String =
        (0..20).map(|n| format!("[receivers.r{n}]\ntype = \"webhook\"\nurl = \"http://127.0.0.1:9/\"\n")).collect();
    let config = |most: u64| format!("journeys = [\"j.toml\"]\n[metrics]\nmax_series = {most}\n{receivers}");
    let dir = folder(&[("journeyd.toml", &config(1)), ("j.toml", &journey)]);
    let refused = crate::support::process::run(dir.path(), &["check", "--config", "journeyd.toml"], &[]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    let (_, rest) = refused.stderr.split_once("need about ").unwrap();
    let needed: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    std::fs::write(dir.path().join("journeyd.toml"), config(needed)).unwrap();
    let daemon = Running::serve(dir.path(), &[]).await;
    let text = daemon.until_metrics("both have run", |m| m.matches("\njourneyd_journey_up{").count() == 2).await;
    let shown = text.lines().filter(|l| !l.starts_with('#')).count() as u64;
    assert!(shown <= needed && needed < shown + 120, "{shown} shown, {needed} added up");
}
