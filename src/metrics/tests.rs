use super::*;
use crate::diag::{Findings, SourceFile};
use crate::ids::{JourneyId, StepId, VariantId};
use crate::report::{Failure, Fault, Outcome, Phases, Reason, StepOutcome, StepReport};

const SETTINGS: MetricsSettings = MetricsSettings { step_histograms: true, max_series: 1_000_000 };

pub fn journey(id: &str, text: &str) -> Arc<Journey> {
    let findings = Findings::default();
    let file = crate::journey::parse::parse_journey(&SourceFile::new(format!("{id}.toml"), text), &findings);
    let world = crate::journey::link::World {
        defaults: &crate::journey::parse_settings::Settings::default(),
        env: &BTreeMap::new(),
        secrets: &BTreeMap::new(),
        unset: crate::diag::Gravity::Error,
        overrides: &BTreeMap::new(),
        base_url: None,
    };
    struct None_;
    impl crate::journey::link::Library for None_ {
        fn fragment(
            &self,
            _: &Arc<SourceFile>,
            _: &crate::document::Text,
            _: &Findings,
        ) -> Option<Arc<crate::journey::parse::FragmentFile>> {
            None
        }

        fn bytes(&self, _: &crate::journey::request::Attached, _: bool, _: &Findings) -> Option<bytes::Bytes> {
            None
        }
    }
    let linked = crate::journey::link::link(JourneyId::new(id).unwrap(), file, &None_, &world, &findings);
    Arc::new(linked.unwrap_or_else(|| panic!("{:?}", findings.into_sorted())))
}

fn step_report(id: &str, outcome: StepOutcome, status: Option<u16>) -> StepReport {
    let mut exchange = crate::runner::blank_exchange("GET", "http://h/".into(), "r".into());
    exchange.status = status;
    exchange.duration = Duration::from_millis(30);
    exchange.phases =
        Phases { processing: Duration::from_millis(20), transfer: Duration::from_millis(10), ..Phases::default() };
    StepReport { id: StepId::new(id).unwrap(), outcome, exchange: Some(exchange) }
}

fn report(journey: &str, variant: Option<&str>, outcome: Outcome, steps: Vec<StepReport>) -> RunReport {
    RunReport {
        run_id: "run".into(),
        key: JourneyKey {
            journey: JourneyId::new(journey).unwrap(),
            variant: variant.map(|v| VariantId::new(v).unwrap()),
        },
        location: "local".into(),
        scheduled_at: Timestamp::from_secs(1000),
        started_at: Timestamp::from_secs(1000),
        duration: Duration::from_millis(300),
        outcome,
        degraded: false,
        maintenance: None,
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        steps,
        cleanup: vec![],
    }
}

fn failed(reason: Reason) -> StepOutcome {
    StepOutcome::Failed(Failure {
        reason,
        kind: "x",
        subject: String::new(),
        expected: String::new(),
        got: String::new(),
        place: String::new(),
    })
}

fn text(metrics: &Metrics, format: Format) -> String {
    String::from_utf8(metrics.render(format)).unwrap()
}

fn value(text: &str, series: &str) -> Option<String> {
    let line = text.lines().find(|l| l.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line[series.len() + 1..].split(' ').next().map(str::to_owned)
}

#[test]
fn series_that_differ_only_in_where_the_labels_split_stay_apart() {
    // The trap: the crate's own Vec types merge these.
    let step = |id: &str| format!("base_url = \"http://h\"\n[[steps]]\nid = \"{id}\"\nrequest = \"GET /\"\n");
    let (a, b) = (journey("checkout", &step("1pay")), journey("checkout1", &step("pay")));
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[a, b], "local", SETTINGS, Timestamp::from_secs(1));
    metrics.observe(&report(
        "checkout",
        None,
        Outcome::Passed,
        vec![step_report("1pay", StepOutcome::Passed, Some(200))],
    ));
    let text = text(&metrics, Format::Text);
    let series = |journey: &str, step: &str| {
        format!(
            "journeyd_step_responses_total{{journey=\"{journey}\",variant=\"\",location=\"local\",step=\"{step}\",class=\"2xx\"}}"
        )
    };
    assert_eq!(value(&text, &series("checkout", "1pay")).as_deref(), Some("1"), "{text}");
    assert_eq!(value(&text, &series("checkout1", "pay")).as_deref(), Some("0"));
}

#[test]
fn each_outcome_moves_its_own_numbers() {
    let j = journey(
        "j",
        "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n[[steps]]\nid = \"t\"\nrequest = \"GET /\"\n",
    );
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[j], "local", SETTINGS, Timestamp::from_secs(1));
    let j = "journey=\"j\",variant=\"\",location=\"local\"";
    let before = text(&metrics, Format::Text);
    assert_eq!(value(&before, &format!("journeyd_journey_runs_total{{{j}}}")).as_deref(), Some("0"));
    assert!(!before.contains("journeyd_journey_up{"), "absent until the first run");

    let passed = || step_report("s", StepOutcome::Passed, Some(200));
    metrics.observe(&report(
        "j",
        None,
        Outcome::Passed,
        vec![passed(), step_report("t", StepOutcome::Passed, Some(204))],
    ));
    metrics.observe(&report(
        "j",
        None,
        Outcome::Failed(Reason::Http5xx),
        vec![
            step_report("s", failed(Reason::Http5xx), Some(500)),
            StepReport::without_request(StepId::new("t").unwrap(), StepOutcome::Blocked),
        ],
    ));
    metrics.observe(&report("j", None, Outcome::Errored(Fault::Fds), vec![]));
    metrics.missed(&JourneyKey { journey: JourneyId::new("j").unwrap(), variant: None }, MissedReason::Overlap, 1);
    let after = text(&metrics, Format::Text);
    let step = |id: &str| format!("{j},step=\"{id}\"");
    for (series, want) in [
        (format!("journeyd_journey_up{{{j}}}"), "0"),
        (format!("journeyd_journey_runs_total{{{j}}}"), "2"),
        (format!("journeyd_journey_run_failures_total{{{j}}}"), "1"),
        (format!("journeyd_journey_runs_errored_total{{{j},reason=\"fds\"}}"), "1"),
        (format!("journeyd_journey_runs_missed_total{{{j},reason=\"overlap\"}}"), "1"),
        (format!("journeyd_journey_duration_seconds_count{{{j}}}"), "1"),
        (format!("journeyd_step_up{{{}}}", step("s")), "0"),
        // Blocked: as it was.
        (format!("journeyd_step_up{{{}}}", step("t")), "1"),
        (format!("journeyd_step_http_status_code{{{}}}", step("t")), "204"),
        (format!("journeyd_step_responses_total{{{},class=\"5xx\"}}", step("s")), "1"),
        (format!("journeyd_step_failures_total{{{},reason=\"http_5xx\"}}", step("s")), "1"),
        (format!("journeyd_step_duration_seconds_count{{{}}}", step("s")), "1"),
        (format!("journeyd_step_phase_duration_seconds{{{},phase=\"processing\"}}", step("s")), "0.02"),
    ] {
        assert_eq!(value(&after, &series).as_deref(), Some(want), "{series}\n{after}");
    }
}

#[test]
fn both_formats_show_the_same_series() {
    let j = journey("j", "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n");
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[j], "local", SETTINGS, Timestamp::from_secs(1));
    metrics.observe(&report("j", None, Outcome::Passed, vec![step_report("s", StepOutcome::Passed, Some(200))]));
    let names = |text: &str| -> Vec<String> {
        let mut names: Vec<String> = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| {
                l[..l.rfind('}').map_or_else(|| l.find(' ').unwrap(), |_| l.find("} ").map_or(l.len(), |i| i + 1))]
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    };
    let (plain, open) = (text(&metrics, Format::Text), text(&metrics, Format::OpenMetrics));
    assert_eq!(names(&plain), names(&open));
    assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"));
    assert!(open.contains("# TYPE journeyd_journey_runs counter"), "{open}");
    assert!(plain.contains("# TYPE journeyd_journey_runs_total counter"));
    let exemplar = "le=\"0.5\"} 1 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.3 1000.000";
    assert!(open.contains(exemplar), "{open}");
    assert!(!plain.contains("trace_id"));
}

#[test]
fn a_reload_keeps_numbers_of_what_stays_and_ends_series_of_what_leaves() {
    let text_of = "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n";
    let (a, b) = (journey("a", text_of), journey("b", text_of));
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[Arc::clone(&a), b], "local", SETTINGS, Timestamp::from_secs(1));
    metrics.observe(&report("a", None, Outcome::Passed, vec![]));
    metrics.reload_failed();
    assert_eq!(value(&text(&metrics, Format::Text), "journeyd_config_last_reload_successful").as_deref(), Some("0"));
    metrics.configure(&[a], "local", SETTINGS, Timestamp::from_secs(2));
    let after = text(&metrics, Format::Text);
    assert_eq!(
        value(&after, "journeyd_journey_runs_total{journey=\"a\",variant=\"\",location=\"local\"}").as_deref(),
        Some("1")
    );
    assert!(!after.contains("journey=\"b\""));
    assert_eq!(value(&after, "journeyd_config_last_reload_successful").as_deref(), Some("1"));
    assert_eq!(value(&after, "journeyd_config_last_reload_success_timestamp_seconds").as_deref(), Some("2"));
}

#[test]
fn the_series_budget_counts_what_a_scrape_shows() {
    let j = journey(
        "j",
        "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n[[steps]]\nid = \"t\"\nrequest = \"GET /\"\n",
    );
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[Arc::clone(&j)], "local", SETTINGS, Timestamp::from_secs(1));
    metrics.observe(&report(
        "j",
        None,
        Outcome::Passed,
        vec![step_report("s", StepOutcome::Passed, Some(200)), step_report("t", StepOutcome::Passed, Some(200))],
    ));
    let key = j.plans[0].key.clone();
    metrics.configure_alerts(j.rules.iter().map(|rule| AlertShown {
        key: AlertKey { journey: key.clone(), rule: rule.id.clone() },
        severity: rule.severity,
        state: State::Inactive,
        flapping: false,
    }));
    let slo = SloSeries {
        ratio: 0.99,
        window: Duration::from_secs(3600),
        remaining: Some(1.0),
        burn: [Some(1.0); 8],
        bad: 0,
        total: 1,
    };
    metrics.objectives(true, ["availability", "latency"].map(|name| ((key.clone(), name), slo)));
    metrics.configure_receivers([ReceiverId::new("ops").unwrap()]);
    metrics.attempted(&ReceiverId::new("ops").unwrap(), Duration::from_secs(1), None, Timestamp::from_secs(3));
    let shown = text(&metrics, Format::Text).lines().filter(|l| !l.starts_with('#')).count() as u64;
    let budget = series_of(&[j], SETTINGS) + series_besides(1);
    assert!((shown..=shown + 60).contains(&budget), "shown {shown}, budgeted {budget}");
}

#[test]
fn reasons_beyond_the_budget_are_refused_and_counted_and_known_ones_go_on() {
    let j = journey("j", "base_url = \"http://h\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n");
    let fixed = fixed_series(std::slice::from_ref(&j), SETTINGS) + series_besides(0);
    let settings = MetricsSettings { max_series: fixed + 2, ..SETTINGS };
    let metrics = Metrics::new(settings);
    metrics.configure(std::slice::from_ref(&j), "local", settings, Timestamp::from_secs(1));
    let fail = |reason| {
        metrics.observe(&report("j", None, Outcome::Failed(reason), vec![step_report("s", failed(reason), Some(500))]));
    };
    let labels = "journey=\"j\",variant=\"\",location=\"local\",step=\"s\"";
    let count = |reason: &str| {
        value(&text(&metrics, Format::Text), &format!("journeyd_step_failures_total{{{labels},reason=\"{reason}\"}}"))
    };
    [Reason::Http5xx, Reason::Http4xx, Reason::Dns, Reason::Http5xx].into_iter().for_each(fail);
    assert_eq!(count("http_5xx").as_deref(), Some("2"));
    assert_eq!(count("http_4xx").as_deref(), Some("1"));
    assert_eq!(count("dns"), None);
    let refused = || value(&text(&metrics, Format::Text), "journeyd_series_refused_total");
    assert_eq!(refused().as_deref(), Some("1"));
    // A reload does not make room that is not there.
    metrics.configure(&[j], "local", settings, Timestamp::from_secs(2));
    fail(Reason::Dns);
    assert_eq!((count("dns"), refused().as_deref()), (None, Some("2")));
}

#[test]
fn of_changes_the_last_five_of_a_service_are_shown_and_standing_still_is_none() {
    let metrics = Metrics::new(SETTINGS);
    let change = |version: &str, at| {
        metrics.change("shop", Change { version: version.into(), source: "flag", at: Timestamp::from_secs(at) });
    };
    for (version, at) in [("a", 1), ("b", 2), ("b", 3), ("c", 4), ("a", 5), ("d", 6), ("e", 7), ("f", 8)] {
        change(version, at);
    }
    let text = text(&metrics, Format::Text);
    let shown: Vec<&str> = text.lines().filter(|l| l.starts_with("journeyd_change_timestamp_seconds{")).collect();
    let line = |version: &str, at| {
        format!("journeyd_change_timestamp_seconds{{service=\"shop\",version=\"{version}\",source=\"flag\"}} {at}")
    };
    assert_eq!(shown, [line("c", 4), line("a", 5), line("d", 6), line("e", 7), line("f", 8)]);
}

/// From our own clock: /proc/stat, where the crate takes it from, is hidden by the shipped unit.
#[test]
fn the_start_of_the_process_needs_no_proc_stat() {
    let before = now().as_secs_f64();
    let metrics = Metrics::new(SETTINGS);
    let started: f64 = value(&text(&metrics, Format::Text), "process_start_time_seconds").unwrap().parse().unwrap();
    assert!(started >= before, "{started} is the kernel's word for it");
}

#[test]
fn a_probe_has_the_last_result_until_it_is_three_intervals_old() {
    let j = journey(
        "j",
        "base_url = \"http://h\"\nschedule = { every = \"1m\" }\n[[variants]]\nid = \"v\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n",
    );
    let metrics = Metrics::new(SETTINGS);
    metrics.configure(&[j], "local", SETTINGS, Timestamp::from_secs(1));
    let ask = |variant: &str, at| {
        let key = JourneyKey::from_labels("j", variant).unwrap();
        match metrics.probe(&key, Format::Text, Timestamp::from_secs(at)) {
            Probed::Text(text) => String::from_utf8(text).unwrap(),
            Probed::Stale(why) => format!("stale: {why}"),
            Probed::Unknown(why) => format!("unknown: {why}"),
        }
    };
    assert_eq!(ask("v", 1000), "stale: `j/v` has no result yet");
    assert_eq!(ask("", 1000), "unknown: there is no `j`; ask for j/v");
    metrics.observe(&report(
        "j",
        Some("v"),
        Outcome::Failed(Reason::Http5xx),
        vec![step_report("s", failed(Reason::Http5xx), Some(503))],
    ));
    let text = ask("v", 1010);
    for line in
        ["probe_success 0", "probe_http_status_code 503", "probe_http_duration_seconds{phase=\"processing\"} 0.02"]
    {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(ask("v", 1000 + 180).contains("probe_success 0"));
    assert!(ask("v", 1000 + 241).starts_with("stale: the last result of `j/v` is "), "{}", ask("v", 1241));
    // One that takes longer than three intervals is fresh when it ends.
    let mut long = report("j", Some("v"), Outcome::Passed, vec![]);
    long.scheduled_at = Timestamp::from_secs(400);
    long.started_at = Timestamp::from_secs(400);
    long.duration = Duration::from_secs(590);
    metrics.observe(&long);
    assert!(ask("v", 1000).contains("probe_success 1"), "{}", ask("v", 1000));
    metrics.observe(&report("j", Some("v"), Outcome::Failed(Reason::Http5xx), vec![]));
    // An errored run says nothing of the target; one in a maintenance window keeps what was found before alive.
    let mut later = report("j", Some("v"), Outcome::Errored(Fault::Fds), vec![]);
    later.started_at = Timestamp::from_secs(1230);
    metrics.observe(&later);
    assert!(ask("v", 1241).starts_with("stale"));
    later.outcome = Outcome::Passed;
    later.maintenance = Some("release".into());
    metrics.observe(&later);
    assert!(ask("v", 1241).contains("probe_success 0"));
}

#[test]
fn the_reference_lists_every_metric_with_its_type_and_meaning() {
    let reference = include_str!("../../docs/metrics.md");
    let mut rows = 0;
    for (name, kind, help) in families::reference() {
        let row = reference.lines().find(|l| l.starts_with(&format!("| `{name}` | {kind} | ")));
        assert!(row.is_some_and(|r| r.ends_with(&format!("| {help} |"))), "docs/metrics.md: {name} {kind}: {row:?}");
        rows += 1;
    }
    assert_eq!(reference.matches("\n| `journeyd_").count(), rows, "docs/metrics.md lists a metric that does not exist");
    for reason in Reason::ALL {
        assert!(reference.contains(&format!("`{reason}`")), "docs/metrics.md: reason {reason}");
    }
}
