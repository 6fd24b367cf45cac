//! What the daemon logs: at most one line for a run, ids in each, for machines and for people.

use serde_json::Value as Json;

use crate::support::process::{Running, journeyd};
use crate::support::target::{Target, response};
use crate::support::{folder, sample};

async fn daemon(format: &str, level: &str) -> (Running, tempfile::TempDir, Target) {
    let target = Target::scripted(|_, _| response("503 X", &[], "\u{1b}[31mno")).await;
    let journey = format!(
        "base_url = \"{}\"\nschedule = {{ every = \"1s\" }}\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n[[cleanup]]\nid = \"c\"\nrequest = \"DELETE /\"\n",
        target.url
    );
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &journey)]);
    let mut command = journeyd(&["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0"]);
    command.args(["--log-format", format, "--log-level", level]).current_dir(dir.path());
    let running = Running::start(command, "Metrics at ").await;
    (running, dir, target)
}

const FAILURES: &str = "journeyd_journey_run_failures_total{journey=\"a\",variant=\"\",location=\"local\"}";

#[tokio::test]
async fn json_lines_have_one_for_each_run_with_its_ids() {
    let (mut running, _dir, _target) = daemon("json", "debug").await;
    running.until_metrics("three runs", |m| sample(m, FAILURES).is_some_and(|n| n >= 3.0)).await;
    running.signal("TERM");
    assert_eq!(running.ended().await, 0);
    let output = running.output();
    let lines: Vec<Json> =
        output.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    let runs: Vec<&Json> = lines.iter().filter(|l| l["message"] == "failed.").collect();
    assert!(runs.len() >= 3, "{output}");
    let mut traces: Vec<&str> = lines.iter().filter_map(|l| l["trace_id"].as_str()).collect();
    let all = traces.len();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), all, "a run has one line: {output}");
    for run in runs {
        for key in [
            "timestamp",
            "level",
            "journey",
            "step",
            "reason",
            "expected",
            "got",
            "request_id",
            "trace_id",
            "curl",
            "at",
        ] {
            assert!(run[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {run}");
        }
        // The failed cleanup is told with the run, not beside it.
        assert!(run["cleanup"].as_str().unwrap().starts_with("c: http_5xx"), "{run}");
    }
    // What libraries log below warnings would show headers.
    let own = |line: &&Json| line["target"].as_str().is_some_and(|target| target.starts_with("journeyd"));
    assert_eq!(lines.iter().filter(own).count(), lines.len(), "{output}");
}

#[tokio::test]
async fn lines_for_people_are_short_and_draw_nothing_on_a_terminal() {
    let (mut running, _dir, _target) = daemon("text", "info").await;
    running.until_metrics("two runs", |m| sample(m, FAILURES).is_some_and(|n| n >= 2.0)).await;
    running.signal("TERM");
    assert_eq!(running.ended().await, 0);
    let output = running.output();
    let failed: Vec<&str> = output.lines().filter(|l| l.contains("failed. ")).collect();
    assert!(failed.len() >= 2, "{output}");
    for line in failed {
        assert!(!line.contains("curl") && line.len() < 420, "{}: {line}", line.len());
        assert!(
            line.contains("request_id=\"") && line.contains("trace_id=\"") && line.contains("reason=\"http_5xx\""),
            "{line}"
        );
    }
    assert!(!output.contains('\u{1b}'), "{output}");
}
