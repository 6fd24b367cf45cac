//! What is shipped in `deploy/` works where it is meant for, as far as that can run here; the rest is held against its
//! schema by the tools of its field.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::monitoring::have;
use crate::support::process::{Running, journeyd, run};
use crate::support::{all_required, eventually, folder, get, node_modules, python, root};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// A program of the Python packages.
fn tool(name: &str) -> Option<Command> {
    Some(Command::new(python()?.with_file_name(name)))
}

#[test]
fn promtool_takes_the_rules_and_the_configurations() {
    if !have("promtool") {
        return;
    }
    let dir = root().join("deploy/prometheus");
    let rules = ["journeyd.rules.yml", "journeyd.alerts.yml"];
    succeeds(
        Command::new("promtool").args(["check", "rules", "--lint=all", "--lint-fatal"]).args(rules).current_dir(&dir),
    );
    succeeds(
        Command::new("promtool")
            .args(["test", "rules", "tests/journeyd_test.yml", "tests/journeyd_long_test.yml"])
            .current_dir(&dir),
    );
    succeeds(Command::new("promtool").args(["check", "config", "prometheus.yml"]).current_dir(&dir));
    // Their rules lie elsewhere once they are mounted.
    for file in ["prometheus/scrape-probe.yml", "compose/prometheus.yml"] {
        succeeds(
            Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(root().join("deploy").join(file)),
        );
    }
}

/// Every alert has its texts, its section in the runbooks, and a test.
#[test]
fn every_alert_is_documented_and_tested() {
    let alerts = read("deploy/prometheus/journeyd.alerts.yml");
    let runbooks = read("docs/runbooks.md");
    let tests =
        read("deploy/prometheus/tests/journeyd_test.yml") + &read("deploy/prometheus/tests/journeyd_long_test.yml");
    let mut count = 0;
    for part in alerts.split("      - alert: ").skip(1) {
        let name = part.lines().next().unwrap();
        count += 1;
        for key in ["summary:", "description:", "runbook_url:"] {
            assert!(part.contains(key), "{name} lacks {key}");
        }
        assert!(
            part.contains(&format!("https://runbooks.example/journeyd#{}\n", name.to_lowercase())),
            "{name}: runbook_url"
        );
        assert!(runbooks.contains(&format!("\n## {name}\n")), "docs/runbooks.md lacks {name}");
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:\n")), "{name} never fires in a test");
    }
    assert!(count >= 10, "{count}");
}

/// What promtool's tests must notice: a rule with one thing wrong.
#[test]
fn a_broken_rule_fails_its_test() {
    if !have("promtool") {
        return;
    }
    let cases = [
        (
            "alerts",
            "(job, journey, variant, severity) (journeyd_alert_firing{alert=\"down\"}) == 1",
            "(job, journey, variant, severity) (journeyd_alert_firing{alert=\"down\"}) == 0",
            "a journey that journeyd has found down",
        ),
        (
            "alerts",
            "min by (job, journey, variant, severity)",
            "max by (job, journey, variant, severity)",
            "a journey that fails from one of two locations",
        ),
        (
            "alerts",
            "unless\n          min by (job, journey, variant) (journeyd_alert_firing{alert=\"down\"}) == 1",
            "or vector(0) < 0",
            "a journey that journeyd has found down",
        ),
        ("alerts", "and job_journey_variant_slo:journeyd_slo_errors:increase1h > 2.5", "", "one failed run in an hour"),
        (
            "alerts",
            "and job_journey_variant_slo:journeyd_slo_runs:increase30m > 2.5",
            "",
            "an hourly journey never pages",
        ),
        ("alerts", "0.02 / 3600", "2 / 3600", "slow runs burn the latency budget"),
        ("alerts", "ratio_increase5m > 0.02", "ratio_increase1h > 0.02", "two more failed runs burn it fast"),
        (
            "alerts",
            "next_run_timestamp_seconds) > 300",
            "last_run_timestamp_seconds) > 300",
            "hourly and office-hours journeys",
        ),
        ("alerts", "alert=\"no_data\"}) == 1", "alert=\"no_data\"}) == 2", "hourly and office-hours journeys"),
        ("alerts", "== 0 or absent(up{job=\"journeyd\"})", "== 0", "so is one that is scraped by nobody"),
        ("alerts", "up{job=\"journeyd\"} == 0 or", "up{job=\"journeyd\"} == 2 or", "a daemon that cannot be scraped"),
        ("alerts", "> 0) > 0.5", "> 0) >= 0.01", "a receiver that refuses is told"),
        ("alerts", "{reason=~\"auth|client_error|expired\"}", "{reason=\"nothing\"}", "a message that is given up"),
        ("alerts", "last_reload_successful[5m]) == 0", "last_reload_successful[5m]) == 2", "a refused reload"),
        ("alerts", "< 14 * 86400", "< 1 * 86400", "a certificate is told"),
        (
            "alerts",
            "(journeyd_store_errors_total[10m])) > 0",
            "(journeyd_store_errors_total[10m])) > 1000",
            "a store that cannot be written",
        ),
        (
            "alerts",
            ">= job_journey_variant_slo:journeyd_slo_error_budget:ratio",
            ">= 0",
            "an objective over a day that is met",
        ),
        (
            "alerts",
            "> job_journey_variant_slo:journeyd_slo_error_budget:ratio",
            ">= 0",
            "an objective over a week that is met",
        ),
        ("alerts", "0.1 / ", "10 / ", "a trickle of failures"),
        (
            "alerts",
            "topk by (job, journey) (1, max by (job, journey, severity) (journeyd_journey_info))",
            "journeyd_journey_info",
            "an info journey",
        ),
        ("rules", "histogram_quantile(0.95", "histogram_quantile(0.5", "quantiles are of all locations"),
        ("rules", "{class=\"5xx\"}", "", "rates are of all locations"),
        (
            "rules",
            "increase(journeyd_journey_degraded_runs_total",
            "increase(journeyd_journey_run_failures_total",
            "slow runs burn the latency budget",
        ),
    ];
    let files = ["journeyd_test.yml", "journeyd_long_test.yml"].map(|f| read(&format!("deploy/prometheus/tests/{f}")));
    for (file, from, to, name) in cases {
        let found = files.iter().find_map(|text| {
            let (head, list) = text.split_once("tests:\n").unwrap();
            Some((head, list.split("  - name: ").find(|test| test.starts_with(name))?))
        });
        let (head, one) = found.unwrap_or_else(|| panic!("no test {name}"));
        let test = format!("{head}tests:\n  - name: {one}").replace("../", "");
        let rule = |which: &str| {
            let text = read(&format!("deploy/prometheus/journeyd.{which}.yml"));
            if which != file {
                return text;
            }
            assert!(text.contains(from), "{from} is not in the rules");
            text.replace(from, to)
        };
        let (rules, alerts) = (rule("rules"), rule("alerts"));
        let dir = folder(&[("journeyd.rules.yml", &rules), ("journeyd.alerts.yml", &alerts), ("test.yml", &test)]);
        let done =
            Command::new("promtool").args(["test", "rules", "test.yml"]).current_dir(dir.path()).output().unwrap();
        // Another answer than wanted, or none.
        let noticed = ["exp:", "err:"].iter().any(|mark| said(&done).contains(mark));
        assert!(!done.status.success() && noticed, "{from} -> {to} passes: {}", said(&done));
    }
}

#[tokio::test]
async fn exported_rules_are_rules_and_the_shipped_ones_come_out_whole() {
    let export = async |args: &[&str]| {
        let done = run(root(), &[&["export", "rules"], args].concat(), &[]).await;
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    };
    let own = export(&["--config", "config/journeyd.toml"]).await;
    let generic = export(&["--generic", "--runbooks", "https://wiki.example/j/"]).await;
    assert!(
        generic.contains("https://wiki.example/j#journeydstale") && !generic.contains("runbooks.example"),
        "{generic}"
    );
    let sloth = export(&["--config", "config/journeyd.toml", "--format", "sloth"]).await;
    if have("promtool") {
        let dir = folder(&[("own.yml", &own), ("generic.yml", &generic)]);
        let told = succeeds(
            Command::new("promtool")
                .args(["check", "rules", "--lint=all", "--lint-fatal", "own.yml", "generic.yml"])
                .current_dir(dir.path()),
        );
        assert!(told.contains("36 rules found"), "{told}");
    }
    if let Some(python) = python() {
        let dir = folder(&[("sloth.yml", &sloth)]);
        // Sloth's prometheus/v1, as its documentation has it.
        let program = "
import sys, yaml
docs = list(yaml.safe_load_all(open(sys.argv[1])))
assert docs
for doc in docs:
    assert doc['version'] == 'prometheus/v1' and doc['service'], doc
    for slo in doc['slos']:
        assert 0 < slo['objective'] < 100 and slo['name'], slo
        for key in ('error_query', 'total_query'):
            assert '[{{.window}}]' in slo['sli']['events'][key], slo
        assert {'page_alert', 'ticket_alert', 'name'} <= set(slo['alerting']), slo
";
        succeeds(Command::new(python).args(["-c", program]).arg(dir.path().join("sloth.yml")));
    }
    let dir = tempfile::tempdir().unwrap();
    let done = run(dir.path(), &["export", "dashboards", "out"], &[]).await;
    assert_eq!((done.code, done.stdout.lines().count()), (0, 4), "{done:?}");
    let shipped = read("deploy/grafana/dashboards/journeyd-slo.json");
    assert_eq!(std::fs::read_to_string(dir.path().join("out/journeyd-slo.json")).unwrap(), shipped);
}

#[test]
fn amtool_takes_the_alertmanager_configurations() {
    if !have("amtool") {
        return;
    }
    for file in ["alertmanager/from-journeyd.yml", "alertmanager/from-prometheus.yml", "compose/alertmanager.yml"] {
        succeeds(Command::new("amtool").arg("check-config").arg(root().join("deploy").join(file)));
    }
    // Who is told of what.
    let told = |file: &str, labels: &[&str]| {
        let config = format!("--config.file={}", root().join("deploy/alertmanager").join(file).display());
        let told = succeeds(Command::new("amtool").args(["config", "routes", "test", &config]).args(labels));
        told.lines().next().unwrap_or_default().to_owned()
    };
    let own = "from-journeyd.yml";
    assert_eq!(told(own, &["alertname=JourneydDown", "source=journeyd", "severity=critical"]), "pager,chat");
    assert_eq!(told(own, &["alertname=JourneydDown", "source=journeyd", "severity=warning"]), "chat");
    assert_eq!(told(own, &["alertname=JourneydWatchdog", "source=journeyd"]), "dead-mans-switch");
    assert_eq!(told(own, &["alertname=JourneydDaemonDown", "journeyd=self", "severity=critical"]), "pager,chat");
    assert_eq!(told(own, &["alertname=JourneydNotificationsFailing", "journeyd=self", "severity=warning"]), "chat");
    let rules = "from-prometheus.yml";
    assert_eq!(told(rules, &["alertname=JourneydDaemonDown", "journeyd=self", "severity=critical"]), "pager,chat");
    let exported = ["alertname=JourneydErrorBudgetBurnFast", "journeyd=journey", "job=journeyd", "severity=critical"];
    assert_eq!(told(rules, &exported), "pager,chat");
    assert_eq!(told(rules, &["alertname=JourneydStale", "journeyd=self", "severity=warning"]), "chat");
}

#[test]
fn the_compose_file_and_the_dockerfile_are_what_their_tools_expect() {
    let Some(mut check) = tool("check-jsonschema") else { return };
    succeeds(check.args(["--builtin-schema", "vendor.compose-spec"]).arg(root().join("deploy/compose.yaml")));
    succeeds(tool("hadolint").unwrap().arg(root().join("deploy/Dockerfile")));
    // What is mounted is there.
    let compose = read("deploy/compose.yaml");
    let mounts = compose.lines().filter_map(|l| l.trim().strip_prefix("- .")).filter_map(|l| l.split(':').next());
    let mounts: Vec<String> = mounts.map(|path| format!(".{path}")).collect();
    assert!(mounts.len() >= 6, "{mounts:?}");
    for path in mounts {
        assert!(root().join("deploy").join(&path).exists(), "{path}");
    }
    // What the image copies is not kept from it.
    let ignored = read(".dockerignore");
    for line in read("deploy/Dockerfile").lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from")) {
        for file in line.split(' ').skip(1).filter(|f| *f != "./") {
            assert!(
                ignored
                    .lines()
                    .any(|l| l == format!("!{file}") || l == format!("!{}", file.split('/').next().unwrap())),
                "{file}"
            );
        }
    }
}

/// The compose file's two containers of journeyd, as processes: the shop alone, and the daemon with that configuration.
#[tokio::test]
async fn the_composed_daemon_walks_the_shop_that_stands_alone() {
    let mut shop = journeyd(&["demo", "--shop-only", "--shop-listen", "127.0.0.1:0"]);
    shop.current_dir(root());
    let shop = Running::spawn(shop);
    let address = eventually("the shop's address", || async {
        let text = shop.output();
        let (_, rest) = text.split_once("shop     ")?;
        Some(rest.lines().next()?.trim_end_matches('/').to_owned())
    })
    .await;
    let config = read("deploy/compose/journeyd.toml").replace("every = \"1m\"", "every = \"1s\"");
    let dir = folder(&[("journeyd.toml", &config)]);
    for file in ["login.toml", "search.toml", "checkout.toml", "shared/login.toml"] {
        let to = dir.path().join("journeys").join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, read(&format!("journeys/{file}")).replace("every = \"1m\"", "every = \"1s\"")).unwrap();
    }
    let daemon = Running::serve(dir.path(), &[("SHOP_URL", &address)]).await;
    daemon
        .until_metrics("all pass", |m| {
            let up: Vec<&str> = m.lines().filter(|l| l.starts_with("journeyd_journey_up{")).collect();
            up.len() == 5 && up.iter().all(|l| l.ends_with(" 1"))
        })
        .await;
    // As the image's health check asks.
    let url = daemon.url.clone();
    let done =
        run(dir.path(), &["status", "--config", "journeyd.toml", "--url", &url], &[("SHOP_URL", &address)]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(get(&format!("{address}/healthz")).await.0, 200);
}

#[tokio::test]
async fn the_kubernetes_base_builds_and_every_object_is_valid() {
    if !have("kubectl") {
        return;
    }
    let built = succeeds(Command::new("kubectl").arg("kustomize").arg(root().join("deploy/kubernetes")));
    let Some(python) = python() else { return };
    let dir = folder(&[("all.yaml", &built)]);
    let program = "
import sys, yaml, json, kubernetes_validate
docs = list(yaml.safe_load_all(open(sys.argv[1])))
own = [d for d in docs if d['apiVersion'].startswith('monitoring.coreos.com/')]
for d in docs:
    if d not in own:
        kubernetes_validate.validate(d, '1.31', strict=True)
rules = [g for f in sys.argv[2:4] for g in yaml.safe_load(open(f))['groups']]
mine = next(d for d in own if d['kind'] == 'PrometheusRule')
assert mine['spec']['groups'] == rules, 'deploy/kubernetes/prometheusrule.yaml is not deploy/prometheus/*.yml'
print(json.dumps({'kinds': sorted(d['kind'] for d in docs), 'own': own, 'config': next(d for d in docs if d['metadata']['name'] == 'journeyd-config')['data'], 'journeys': next(d for d in docs if d['metadata']['name'] == 'journeyd-journeys')['data']}))
";
    let rules = root().join("deploy/prometheus");
    let told = succeeds(
        Command::new(python)
            .args(["-c", program])
            .arg(dir.path().join("all.yaml"))
            .args([rules.join("journeyd.rules.yml"), rules.join("journeyd.alerts.yml")]),
    );
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let kinds: Vec<&str> = told["kinds"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
    let want = [
        "ConfigMap",
        "ConfigMap",
        "NetworkPolicy",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    ];
    assert_eq!(kinds, want);

    // The operator's own kinds, by the schemas of its definitions.
    if let Some(modules) = node_modules() {
        let program = "
const models = require(process.argv[1] + '/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1');
for (const object of JSON.parse(process.argv[2])) { new models[object.kind](object).validate(); }
const broken = JSON.parse(process.argv[2])[0];
broken.spec = { groups: [{ name: 7 }], endpoints: [{ port: 7 }] };
try { new models[broken.kind](broken).validate(); } catch (error) { process.exit(0); }
throw new Error('a broken object passes');
";
        succeeds(Command::new("node").args(["-e", program]).arg(modules).arg(told["own"].to_string()));
    }

    // What the pod would read is a configuration that a daemon takes.
    let config = told["config"]["journeyd.toml"].as_str().unwrap().replace("/etc/journeyd/journeys", "journeys");
    let example = told["journeys"]["example.toml"].as_str().unwrap();
    let pod = folder(&[("journeyd.toml", &config), ("journeys/example.toml", example)]);
    let done = run(pod.path(), &["check", "--deny-warnings", "--config", "journeyd.toml"], &[]).await;
    assert_eq!(done.code, 0, "{done:?}");
}

/// The package's configuration is the shipped one with the package's places.
#[tokio::test]
async fn the_packages_configuration_is_the_shipped_one_and_loads() {
    let shipped = read("config/journeyd.toml");
    let moved = shipped
        .replace("#:schema ./schema/config.json", "#:schema /usr/share/journeyd/config/schema/config.json")
        .replace("journeys = [\"../journeys/*.toml\"]", "journeys = [\"journeys/*.toml\"]")
        .replace("\ndir = \"../data\"", "\ndir = \"/var/lib/journeyd\"");
    assert!(
        moved == read("deploy/debian/journeyd.toml"),
        "deploy/debian/journeyd.toml differs from config/journeyd.toml"
    );
    let done =
        run(&root().join("deploy/debian"), &["check", "--deny-warnings", "--config", "journeyd.toml"], &[]).await;
    assert_eq!(done.code, 0, "{done:?}");
}

struct Machine(tempfile::TempDir);

impl Machine {
    /// A root folder with an empty package database.
    fn new() -> Self {
        let dir = folder(&[("var/lib/dpkg/status", ""), ("var/lib/dpkg/available", "")]);
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The real dpkg, into this root; without root's rights as root of an own user namespace.
    fn dpkg(&self, args: &[&str]) {
        let root = format!("--root={}", self.0.path().display());
        let log = format!("--log={}", self.path("dpkg.log").display());
        let all = ["--map-root-user", "dpkg", &root, &log, "--force-depends", "--force-script-chrootless"];
        succeeds(Command::new("unshare").args(all).args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    }
}

fn cargo_deb() -> Option<PathBuf> {
    let own = root().join("target/tools/bin/cargo-deb");
    let found =
        [own, PathBuf::from("cargo-deb")].into_iter().find(|p| Command::new(p).arg("--version").output().is_ok());
    if found.is_none() {
        assert!(!all_required(), "cargo-deb is not installed: ./tests/run --install");
        eprintln!("SKIPPED: cargo-deb is not installed");
    }
    found.filter(|_| have("dpkg") && have("unshare"))
}

/// The tests' binary stands in for the release build.
fn package(cargo_deb: &Path, to: &Path) {
    let release = to.join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_journeyd"), release.join("journeyd")).unwrap();
    succeeds(
        Command::new(cargo_deb)
            .args(["--no-build", "--no-strip", "--fast", "--locked", "-o"])
            .arg(to.join("journeyd.deb"))
            .env("CARGO_TARGET_DIR", to.join("target"))
            .current_dir(root()),
    );
}

#[tokio::test]
async fn the_debian_package_installs_keeps_what_was_changed_and_leaves_nothing_when_purged() {
    let Some(cargo_deb) = cargo_deb() else { return };
    let built = tempfile::tempdir().unwrap();
    package(&cargo_deb, built.path());
    let deb = built.path().join("journeyd.deb");
    let deb = deb.to_str().unwrap();
    let machine = Machine::new();
    machine.dpkg(&["-i", deb]);
    let config = machine.path("etc/journeyd/journeyd.toml");
    assert!(machine.path("etc/systemd/system/multi-user.target.wants/journeyd.service").is_symlink(), "enabled");
    let unit = std::fs::read_to_string(machine.path("usr/lib/systemd/system/journeyd.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/journeyd serve --config /etc/journeyd/journeyd.toml"), "{unit}");
    for file in [
        "usr/share/journeyd/deploy/prometheus/journeyd.alerts.yml",
        "usr/share/journeyd/deploy/grafana/dashboards/journeyd-slo.json",
        "usr/share/journeyd/docs/runbooks.md",
        "usr/share/doc/journeyd/copyright",
        "usr/share/journeyd/docs/migrate/gatus/journeyd.toml",
        "usr/share/journeyd/config/schema/journey.json",
    ] {
        assert!(machine.path(file).is_file(), "{file}");
    }
    // The installed program takes the installed configuration, and runs with it.
    let check = Command::new(machine.path("usr/bin/journeyd"))
        .args(["check", "--deny-warnings", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(check.status.success() && said(&check).contains("example"), "{}", said(&check));
    let mine = std::fs::read_to_string(&config).unwrap().replace(
        "\ndir = \"/var/lib/journeyd\"",
        &format!("\ndir = \"{}\"", machine.path("var/lib/journeyd").display()),
    );
    std::fs::write(&config, &mine).unwrap();
    let mut serve = tokio::process::Command::new(machine.path("usr/bin/journeyd"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config).env_clear().kill_on_drop(true);
    let mut daemon = Running::start(serve, "Metrics at ").await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);

    // An upgrade keeps what was changed; removing keeps it, and the store; purging keeps nothing.
    machine.dpkg(&["-i", deb]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), mine);
    machine.dpkg(&["-r", "journeyd"]);
    assert!(config.is_file() && machine.path("var/lib/journeyd/state.db").is_file());
    assert!(!machine.path("usr/bin/journeyd").exists());
    machine.dpkg(&["-P", "journeyd"]);
    assert!(!machine.path("etc/journeyd").exists() && !machine.path("var/lib/journeyd").exists());
}
