//! Lowering of `[alert]` and `[[alerts]]`: from what is written to rules.

use std::time::Duration;

use toml::Spanned;

use crate::clock::Timestamp;
use crate::diag::{Diagnostic, Findings, Place};
use crate::document::{Field, TableReader, Text, as_float, as_integer};
use crate::ids::{JourneyId, RuleId};
use crate::journey::fields::{alert, alerts};
use crate::journey::model::{Severity, Slo, Telling};
use crate::journey::rule::{FailWhen, MOST_OF, Measure, Objective, Quorum, Rule, RuleKind, burn_windows};
use crate::quantity::show_duration;
use crate::timetable::Timetable;

/// Samples of a window are kept in memory.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Rules that journeyd itself owns; no journey can have them.
const RESERVED: [&str; 3] = ["impaired", "receiver_failing", "watchdog"];
/// Rules that every journey has, and the kind that one of this name must be.
const BUILT_IN: [&str; 3] = ["no_data", "challenged", "cleanup"];

/// `[alert]` as written; what is absent comes from the defaults.
#[derive(Debug, Clone, Default)]
pub struct AlertOptions {
    pub fail_when: Option<FailWhen>,
    pub recover_after: Option<u32>,
    pub hold: Option<Duration>,
    pub keep_firing_for: Option<Duration>,
    pub quorum: Option<Quorum>,
    pub flapping: Option<bool>,
    pub depends_on: Option<Vec<(Text, Place)>>,
    pub repeat_every: Option<Duration>,
    pub max_reminders: Option<u32>,
}

/// One of `[[alerts]]` as written.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    id: RuleId,
    place: Place,
    enabled: bool,
    kind: Kind,
    severity: Option<Severity>,
    timing: AlertOptions,
}

#[derive(Debug, Clone)]
enum Kind {
    Degraded,
    Challenged,
    Cleanup,
    ErrorRate { over: f64, window: Duration, min_runs: u32 },
    Latency { measure: Measure, over: Duration, window: Duration, min_runs: u32 },
    BurnRate { objective: Objective, fast: bool, min_failures: u32 },
    CertExpiry { within: Duration },
    NoData { after: Option<Duration> },
}

const KINDS: [(&str, u8); 8] = [
    ("error_rate", 0),
    ("latency", 1),
    ("burn_rate", 2),
    ("cert_expiry", 3),
    ("degraded", 4),
    ("no_data", 5),
    ("challenged", 6),
    ("cleanup", 7),
];

fn count(table: &TableReader<'_, '_, '_>, field: &'static Field, most: i64) -> Option<u32> {
    table.integer(field, 1..=most).and_then(|n| u32::try_from(n).ok())
}

/// A duration, or "0s" for none.
fn wait(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<Duration> {
    table.duration(field, Duration::ZERO).map(Spanned::into_inner)
}

pub fn read_alert(table: &TableReader<'_, '_, '_>) -> AlertOptions {
    let in_a_row = count(table, &alert::FAIL_AFTER, 1000).map(FailWhen::InARow);
    let of = table.text(&alert::FAIL_WHEN).and_then(|text| read_fail_when(table, &text));
    if let (Some(_), Some(_)) = (in_a_row, of) {
        table.source.push(
            table
                .source
                .error(
                    table.key_span(&alert::FAIL_WHEN),
                    "a rule has `fail_after` or `fail_when`, not both",
                    "one of them",
                )
                .other(table.key_span(&alert::FAIL_AFTER), "the other"),
        );
    }
    AlertOptions {
        fail_when: of.or(in_a_row),
        recover_after: count(table, &alert::RECOVER_AFTER, 1000),
        hold: wait(table, &alert::FOR),
        keep_firing_for: wait(table, &alert::KEEP_FIRING_FOR),
        quorum: read_quorum(table, &alert::QUORUM),
        flapping: table.boolean(&alert::FLAPPING),
        depends_on: table
            .texts(&alert::DEPENDS_ON)
            .map(|texts| texts.into_iter().map(|text| (text.clone(), table.source.place(text.span))).collect()),
        repeat_every: wait(table, &alert::REPEAT_EVERY),
        max_reminders: table.integer(&alert::MAX_REMINDERS, 0..=1000).and_then(|n| u32::try_from(n).ok()),
    }
}

/// `"2 of 3"`.
fn read_fail_when(table: &TableReader<'_, '_, '_>, text: &Text) -> Option<FailWhen> {
    let parsed =
        text.value.split_once(" of ").and_then(|(m, n)| Some((m.trim().parse().ok()?, n.trim().parse().ok()?)));
    match parsed {
        Some((m, n)) if m >= 1 && m <= n && n <= MOST_OF => Some(FailWhen::Of(m, n)),
        _ => {
            table.source.push(
                table
                    .source
                    .error(
                        text.span.clone(),
                        format!("`{}` is not m of n", text.value),
                        format!("expected {}", alert::FAIL_WHEN.expects),
                    )
                    .help(format!("\"2 of 3\": two bad runs among the last three; at most {MOST_OF} runs")),
            );
            None
        }
    }
}

fn read_quorum(table: &TableReader<'_, '_, '_>, field: &'static Field) -> Option<Quorum> {
    let node = table.get(field)?;
    if let Some(n) = as_integer(node.get_ref()) {
        let n = u32::try_from(n).ok().filter(|n| (1..=1000).contains(n));
        if n.is_none() {
            table.source.push(table.source.error(
                node.span(),
                "`quorum` is out of range",
                "expected 1 to 1000 locations",
            ));
        }
        return n.map(Quorum::AtLeast);
    }
    table.word(field, &[("any", Quorum::Any), ("majority", Quorum::Majority), ("all", Quorum::All)])
}

/// Reads `[[alerts]]`.
pub fn read_rules(tables: &[TableReader<'_, '_, '_>]) -> Vec<RuleOptions> {
    let mut out: Vec<RuleOptions> = Vec::new();
    for table in tables {
        let Some(rule) = read_rule(table) else { continue };
        if out.iter().any(|known| known.id == rule.id) {
            let message = format!("two rules are called `{}`", rule.id);
            table.source.push(table.source.error(rule.place.span.clone(), message, "the second"));
            continue;
        }
        out.push(rule);
    }
    out
}

fn read_rule(table: &TableReader<'_, '_, '_>) -> Option<RuleOptions> {
    if table.get(&alerts::ID).is_none() {
        table.missing(&alerts::ID, "the rule", "for example id = \"slow\"");
    }
    let off = table.get(&alerts::ENABLED).is_some_and(|node| node.get_ref().as_bool() == Some(false));
    if table.get(&alerts::KIND).is_none() && !off {
        table.missing(&alerts::KIND, "the rule", "for example kind = \"latency\"");
    }
    let id = table.id(&alerts::ID);
    let kind = table.word(&alerts::KIND, &KINDS);
    let timing = read_alert_of_rule(table);
    let severity = table.word(&alerts::SEVERITY, &Severity::NAMES);
    let id = id?;
    if off && table.get(&alerts::KIND).is_none() && id.value != "down" {
        // What is switched off needs no more than its name.
        let (place, timing) = (table.source.place(id.span), AlertOptions::default());
        let id = RuleId::new(&id.value)?;
        return Some(RuleOptions { id, place, enabled: false, kind: Kind::Degraded, severity: None, timing });
    }
    let kind_name = KINDS.iter().find(|(_, n)| Some(*n) == kind).map(|(name, _)| *name)?;
    let problem = if id.value == "down" {
        Some(("`down` is the journey's built-in rule".to_owned(), "its settings stand in [alert]"))
    } else if RESERVED.contains(&id.value.as_str()) {
        Some((format!("`{}` is a rule of journeyd itself", id.value), "choose another id"))
    } else if BUILT_IN.contains(&id.value.as_str()) && id.value != kind_name {
        Some((format!("`{}` is built in, and of that kind", id.value), "choose another id, or that kind"))
    } else {
        None
    };
    if let Some((message, label)) = problem {
        table.source.push(table.source.error(id.span, message, label));
        return None;
    }
    let read = read_kind(table, kind_name, severity);
    warn_of_strangers(table, kind_name);
    Some(RuleOptions {
        id: RuleId::new(&id.value)?,
        place: table.source.place(id.span),
        enabled: table.boolean(&alerts::ENABLED).unwrap_or(true),
        kind: read?,
        severity,
        timing,
    })
}

fn read_alert_of_rule(table: &TableReader<'_, '_, '_>) -> AlertOptions {
    // The same keys under the same names; what does not apply is not in the table of a rule.
    read_alert(&TableReader { source: table.source.clone(), table: table.table, span: table.span.clone() })
}

fn read_kind(table: &TableReader<'_, '_, '_>, kind: &str, severity: Option<Severity>) -> Option<Kind> {
    let window = table.duration(&alerts::WINDOW, Duration::from_secs(60));
    if let Some(window) = window.as_ref().filter(|w| *w.get_ref() > LONGEST_WINDOW) {
        table.source.push(table.source.error(window.span(), "`window` is too long", "expected at most 24h"));
    }
    let window = window.map_or(Duration::from_secs(600), Spanned::into_inner);
    let min_runs = || count(table, &alerts::MIN_RUNS, 10_000).unwrap_or(3);
    let need_over = |example: &str| {
        if table.get(&alerts::OVER).is_none() {
            table.missing(&alerts::OVER, "the rule", example);
        }
        table.get(&alerts::OVER)
    };
    match kind {
        "error_rate" => {
            let node = need_over("for example over = 5, percent of responses")?;
            let value = node.get_ref();
            #[expect(clippy::cast_precision_loss, reason = "a percentage")]
            let percent = as_float(value).or_else(|| as_integer(value).map(|n| n as f64));
            let over = percent.filter(|p| (0.0..100.0).contains(p));
            if over.is_none() {
                let message = "`over` is no share of responses";
                table.source.push(table.source.error(
                    node.span(),
                    message,
                    "expected a percentage from 0 to below 100",
                ));
            }
            Some(Kind::ErrorRate { over: over? / 100.0, window, min_runs: min_runs() })
        }
        "latency" => {
            let percentile = read_percentile(table);
            let mean = table.get(&alerts::MEAN).is_some() && table.boolean(&alerts::MEAN).unwrap_or(false);
            if mean && table.get(&alerts::PERCENTILE).is_some() {
                let span = table.key_span(&alerts::MEAN);
                let message = "a rule looks at a percentile or at the mean";
                table.source.push(table.source.error(span, message, "one of them"));
            }
            need_over("for example over = \"2.5s\"")?;
            let over = wait(table, &alerts::OVER)?;
            let measure = if mean { Measure::Mean } else { Measure::Percentile(percentile.ok()?.unwrap_or(95.0)) };
            Some(Kind::Latency { measure, over, window, min_runs: min_runs() })
        }
        "burn_rate" => Some(Kind::BurnRate {
            objective: table
                .word(&alerts::SLO, &[("availability", Objective::Availability), ("latency", Objective::Latency)])
                .unwrap_or(Objective::Availability),
            fast: table
                .word(&alerts::SPEED, &[("fast", true), ("slow", false)])
                .unwrap_or(severity != Some(Severity::Warning)),
            min_failures: count(table, &alerts::MIN_FAILURES, 10_000).unwrap_or(3),
        }),
        "cert_expiry" => {
            Some(Kind::CertExpiry { within: wait(table, &alerts::WITHIN).unwrap_or(Duration::from_secs(21 * 86_400)) })
        }
        "degraded" => Some(Kind::Degraded),
        "challenged" => Some(Kind::Challenged),
        "cleanup" => Some(Kind::Cleanup),
        _ => Some(Kind::NoData {
            after: table.duration(&alerts::AFTER, Duration::from_secs(10)).map(Spanned::into_inner),
        }),
    }
}

fn read_percentile(table: &TableReader<'_, '_, '_>) -> Result<Option<f64>, ()> {
    let Some(node) = table.get(&alerts::PERCENTILE) else { return Ok(None) };
    let value = node.get_ref();
    #[expect(clippy::cast_precision_loss, reason = "a percentile")]
    let number = as_float(value).or_else(|| as_integer(value).map(|n| n as f64));
    match number.filter(|p| *p >= 1.0 && *p <= 100.0) {
        Some(percentile) => Ok(Some(percentile)),
        None => {
            table.source.push(table.source.error(node.span(), "`percentile` is out of range", "expected 1 to 100"));
            Err(())
        }
    }
}

/// Keys that mean nothing to a rule's kind.
fn warn_of_strangers(table: &TableReader<'_, '_, '_>, kind: &str) {
    let by_run = ["degraded", "challenged", "cleanup"].contains(&kind);
    let windowed = ["error_rate", "latency"].contains(&kind);
    for (field, applies) in [
        (&alerts::OVER, windowed),
        (&alerts::WINDOW, windowed),
        (&alerts::MIN_RUNS, windowed),
        (&alerts::PERCENTILE, kind == "latency"),
        (&alerts::MEAN, kind == "latency"),
        (&alerts::SLO, kind == "burn_rate"),
        (&alerts::SPEED, kind == "burn_rate"),
        (&alerts::MIN_FAILURES, kind == "burn_rate"),
        (&alerts::WITHIN, kind == "cert_expiry"),
        (&alerts::AFTER, kind == "no_data"),
        (&alerts::FAIL_AFTER, by_run),
        (&alerts::FAIL_WHEN, by_run),
        (&alerts::RECOVER_AFTER, by_run),
        (&alerts::QUORUM, by_run),
    ] {
        if table.get(field).is_some() && !applies {
            let span = table.key_span(field);
            let message = format!("`{}` means nothing to a rule of kind {kind}", field.name);
            table.source.push(table.source.error(span, message, "no effect"));
        }
    }
}

/// What rules follow from.
pub struct Given<'a> {
    pub severity: Severity,
    pub slo: Option<Slo>,
    pub schedule: &'a Timetable,
}

/// The rules of a journey: the built-in ones, then its own, which may replace or switch off a built-in one.
pub fn rules(
    alert: &AlertOptions,
    own: &[RuleOptions],
    defaults: &[RuleOptions],
    given: &Given<'_>,
    findings: &Findings,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Rule::down(given.severity).into_iter().chain(Rule::companions()).collect();
    if let Some(down) = rules.first_mut() {
        apply(down, alert);
    }
    let inherited = defaults.iter().filter(|rule| !own.iter().any(|o| o.id == rule.id));
    for (written, is_own) in own.iter().map(|rule| (rule, true)).chain(inherited.map(|rule| (rule, false))) {
        let place = rules.iter().position(|rule| rule.id == written.id);
        if !written.enabled {
            rules.retain(|rule| rule.id != written.id);
            continue;
        }
        let Some(mut rule) = build(written, given, is_own, findings) else { continue };
        apply(&mut rule, &written.timing);
        match place {
            Some(place) => rules[place] = rule,
            None => rules.push(rule),
        }
    }
    rules
}

fn apply(rule: &mut Rule, options: &AlertOptions) {
    let AlertOptions { fail_when, recover_after, hold, keep_firing_for, quorum, flapping, .. } = options;
    rule.fail_when = fail_when.unwrap_or(rule.fail_when);
    rule.recover_after = recover_after.unwrap_or(rule.recover_after);
    rule.hold = hold.unwrap_or(rule.hold);
    rule.keep_firing_for = keep_firing_for.unwrap_or(rule.keep_firing_for);
    rule.quorum = quorum.unwrap_or(rule.quorum);
    rule.flapping = flapping.unwrap_or(rule.flapping);
}

/// `None` for a rule that lacks what it looks at. Of [defaults] such rules are for the journeys that have it.
fn build(written: &RuleOptions, given: &Given<'_>, is_own: bool, findings: &Findings) -> Option<Rule> {
    let lacks = |message: &str, help: &str| {
        if is_own {
            findings.push(
                Diagnostic::error(written.place.clone(), message.to_owned()).label("nothing to look at").help(help),
            );
        }
    };
    let interval = match given.schedule {
        Timetable::Every(interval) => Some(*interval),
        // Between two slots of some day.
        Timetable::Cron(line) => {
            let first = line.next_after(Timestamp::from_secs(1_790_000_000));
            first.and_then(|first| Some(line.next_after(first)?.since(first)))
        }
    };
    let (kind, by_run) = match &written.kind {
        Kind::Degraded => {
            if given.slo.is_none_or(|slo| slo.latency.is_none()) {
                lacks(
                    "a degraded run is one over the latency objective, and there is none",
                    "for example [slo] latency = \"2.5s\"",
                );
                return None;
            }
            (RuleKind::Degraded, 2)
        }
        Kind::Challenged => (RuleKind::Challenged, 2),
        Kind::Cleanup => (RuleKind::Cleanup, 3),
        Kind::ErrorRate { over, window, min_runs } => {
            check_window(*window, *min_runs, interval, written, findings);
            (RuleKind::ErrorRate { over: *over, window: *window, min_runs: *min_runs }, 0)
        }
        Kind::Latency { measure, over, window, min_runs } => {
            check_window(*window, *min_runs, interval, written, findings);
            (RuleKind::Latency { measure: *measure, over: *over, window: *window, min_runs: *min_runs }, 0)
        }
        Kind::BurnRate { objective, fast, min_failures } => {
            let slo = given.slo.filter(|slo| {
                slo.objective.is_some() && (*objective == Objective::Availability || slo.latency.is_some())
            });
            let Some((slo, ratio)) = slo.and_then(|slo| Some((slo, slo.objective?))) else {
                lacks("the budget of an objective burns, and there is none", "for example [slo] objective = 99.5");
                return None;
            };
            let windows = burn_windows(*fast, slo.window, interval.unwrap_or(Duration::from_secs(60)));
            if windows.is_empty() {
                lacks(
                    "the objective's window is shorter than those that burn rates are measured over",
                    "give [slo] a longer `window`",
                );
                return None;
            }
            if let Some(interval) = interval {
                let runs = windows[0].long.as_secs_f64() / interval.as_secs_f64();
                let needed = windows[0].factor * (1.0 - ratio) * runs;
                if needed < 1.0 && *min_failures < 2 {
                    findings.push(
                        Diagnostic::warning(written.place.clone(), "one failed run would fire this rule".to_owned())
                            .label(format!(
                                "{:.2} failed runs in {} are enough",
                                needed,
                                show_duration(windows[0].long)
                            ))
                            .help("leave `min_failures` at 3, run the journey more often, or lower the objective"),
                    );
                }
            }
            (RuleKind::BurnRate { objective: *objective, windows, min_failures: *min_failures }, 0)
        }
        Kind::CertExpiry { within } => (RuleKind::CertExpiry { within: *within }, 0),
        Kind::NoData { after } => {
            if let (Some(after), Some(interval)) = (after, interval)
                && *after <= interval
            {
                findings.push(
                    Diagnostic::warning(
                        written.place.clone(),
                        "`after` is no longer than the journey's interval".to_owned(),
                    )
                    .label("it fires between any two runs")
                    .help(format!("it runs every {}; leave `after` out for three times that", show_duration(interval))),
                );
            }
            (RuleKind::NoData { after: *after }, 0)
        }
    };
    Some(Rule {
        id: written.id.clone(),
        severity: written.severity.unwrap_or(match written.kind {
            Kind::BurnRate { fast: true, .. } => given.severity,
            _ => Severity::Warning,
        }),
        kind,
        fail_when: FailWhen::InARow(by_run),
        recover_after: 2,
        hold: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
        quorum: Quorum::Majority,
        flapping: false,
    })
}

fn check_window(
    window: Duration,
    min_runs: u32,
    interval: Option<Duration>,
    written: &RuleOptions,
    findings: &Findings,
) {
    let Some(interval) = interval else { return };
    let runs = window.as_secs_f64() / interval.as_secs_f64();
    if runs < f64::from(min_runs) {
        findings.push(
            Diagnostic::warning(written.place.clone(), format!("`window` holds {runs:.0} runs, fewer than `min_runs`"))
                .label("it can never fire")
                .help(format!(
                    "at an interval of {} a window of {} holds {min_runs}",
                    show_duration(interval),
                    show_duration(interval * min_runs)
                )),
        );
    }
}

/// Besides rules: who is asked first, and how often people are reminded.
pub fn telling(alert: &AlertOptions, id: &JourneyId, findings: &Findings) -> Telling {
    let mut depends_on = Vec::new();
    for (text, place) in alert.depends_on.iter().flatten() {
        match JourneyId::new(&text.value) {
            Some(other) if other == *id => {
                // In [defaults] it stands for all the others.
                if std::path::Path::new(&place.file.name).file_stem().is_some_and(|stem| stem == id.as_str()) {
                    findings.push(
                        Diagnostic::error(place.clone(), format!("`{id}` cannot depend on itself"))
                            .label("this journey")
                            .help("name the journey whose outage explains this one's"),
                    );
                }
            }
            Some(other) => depends_on.push((other, place.clone())),
            None => findings.push(
                Diagnostic::error(place.clone(), format!("`{}` is not a journey's id", text.value)).label("not an id"),
            ),
        }
    }
    Telling {
        depends_on,
        repeat_every: alert.repeat_every.unwrap_or(Duration::from_secs(4 * 3600)),
        max_reminders: alert.max_reminders.unwrap_or(6),
    }
}

impl AlertOptions {
    /// Own values before the defaults.
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            fail_when: self.fail_when.or(defaults.fail_when),
            recover_after: self.recover_after.or(defaults.recover_after),
            hold: self.hold.or(defaults.hold),
            keep_firing_for: self.keep_firing_for.or(defaults.keep_firing_for),
            quorum: self.quorum.or(defaults.quorum),
            flapping: self.flapping.or(defaults.flapping),
            depends_on: self.depends_on.or_else(|| defaults.depends_on.clone()),
            repeat_every: self.repeat_every.or(defaults.repeat_every),
            max_reminders: self.max_reminders.or(defaults.max_reminders),
        }
    }
}
