//! The house rules that a compiler does not hold: layers, purity, module docs, nothing left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Module to layer. A module may use modules of its own layer and below; `schedule::driver` and
/// `notify::outbox` are edges though their folders are not.
const LAYERS: [(&str, u8); 34] = [
    ("clock", 0),
    ("diag", 0),
    ("document", 0),
    ("entropy", 0),
    ("failpoint", 0),
    ("ids", 0),
    ("quantity", 0),
    ("secret", 0),
    ("timetable", 0),
    ("journey", 1),
    ("report", 1),
    ("alert", 2),
    ("doubt", 2),
    ("export", 2),
    ("import", 2),
    ("incident", 2),
    ("mute", 2),
    ("notify", 2),
    ("schedule", 2),
    ("slo", 2),
    ("demo", 3),
    ("metrics", 3),
    ("runner", 3),
    ("store", 3),
    ("web", 3),
    ("config", 4),
    ("app", 5),
    ("bench", 5),
    ("cli", 5),
    ("fuzz", 5),
    ("pipeline", 5),
    ("telemetry", 5),
    ("lib", 5),
    ("main", 5),
];

/// Edges do not import each other, but for these, with the reason.
const BETWEEN_EDGES: [(&str, &str); 3] = [
    // The API shows what is stored, page by page.
    ("web", "store"),
    // The server shows the metrics.
    ("web", "metrics"),
    // The shop is served by the same accept loop.
    ("demo", "web"),
];

/// Words that a pure module has no use for.
const IMPURE: [&str; 12] = [
    "async ",
    ".await",
    "tokio::",
    "reqwest::Client",
    "std::fs",
    "std::env",
    "Instant::now",
    "clock::now",
    "entropy::",
    "tracing::",
    "std::net::Tcp",
    "SystemTime",
];

fn sources() -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root().join("src")).unwrap().to_owned();
                out.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(out.len() > 30);
    out
}

fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> u8 {
    LAYERS
        .iter()
        .find(|(name, _)| *name == module)
        .unwrap_or_else(|| panic!("`{module}` has no layer: add it to the table"))
        .1
}

/// Code without tests and comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    body.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_only_point_downward() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = module(&path);
        if path.ends_with("tests.rs") {
            continue;
        }
        for used in code(&text).split("crate::").skip(1) {
            let to: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if !LAYERS.iter().any(|(name, _)| *name == to) || to == from {
                continue;
            }
            let edge = path.ends_with("schedule/driver.rs") || path.ends_with("notify/outbox.rs");
            let own = if edge { 3 } else { layer(&from) };
            let beside = layer(&to) == 3 && own == 3;
            if layer(&to) > own || (beside && !BETWEEN_EDGES.contains(&(from.as_str(), to.as_str()))) {
                wrong.push(format!("{} uses crate::{to}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn deciding_modules_are_pure() {
    let pure = |path: &Path| {
        let name = path.to_string_lossy();
        [
            "journey/",
            "timetable/",
            "report.rs",
            "import/",
            "config/plan.rs",
            "runner/soft.rs",
            "schedule/agenda.rs",
            "alert/",
            "incident.rs",
            "slo.rs",
            "notify/mod.rs",
            "notify/message.rs",
            "notify/route.rs",
            "notify/backlog.rs",
            "notify/retry.rs",
            "notify/slack.rs",
            "notify/webhook.rs",
            "store/retention.rs",
            "pipeline/judge.rs",
            "pipeline/outage.rs",
            "pipeline/telling.rs",
            "pipeline/objective.rs",
            "mute.rs",
            "doubt.rs",
            "document.rs",
            "diag.rs",
            "ids.rs",
            "quantity.rs",
            "metrics/series.rs",
            "runner/classify.rs",
        ]
        .iter()
        .any(|p| name.starts_with(p))
    };
    for (path, text) in sources().into_iter().filter(|(path, _)| pure(path)) {
        for word in IMPURE {
            assert!(!code(&text).contains(word), "{} is pure, but says `{word}`", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (path, text) in sources() {
        if !path.ends_with("tests.rs") {
            assert!(text.starts_with("//! "), "{} has no module documentation", path.display());
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    for (path, text) in sources() {
        for mark in ["TODO", "FIXME", "XXX", "dbg!(", "#[ignore", "todo!("] {
            assert!(!text.contains(mark), "{} has a {mark}", path.display());
        }
        let lines = code(&text).lines().count();
        assert!(lines <= 700, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let known = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "benches",
        "clippy.toml",
        "config",
        "data",
        "deny.toml",
        "deploy",
        "docs",
        "fuzz",
        "journeys",
        "rustfmt.toml",
        "src",
        "target",
        "tests",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || known.contains(&name.as_str()), "`{name}` has no place at the top level");
    }
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(architecture.lines().count() < 150);
}

/// Who reads the log at night is told what to do, not only what is wrong.
#[test]
fn every_error_line_of_the_log_says_what_to_do() {
    let cues = ["report it", "end ", "ending,", "mend", "look at", "check", "raise", "restore", "`journeyd ", "advice"];
    let mut count = 0;
    for (file, text) in sources() {
        for rest in text.split("tracing::error!(").skip(1) {
            let line = rest.split(");").next().unwrap().to_lowercase();
            count += 1;
            assert!(cues.iter().any(|cue| line.contains(cue)), "{}: {line}", file.display());
        }
    }
    assert!(count > 10, "{count}");
}
