//! A run as text: a waterfall of phases per step, and all that is known of what failed.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::quantity::{show_duration, show_size};
use crate::report::{ExchangeReport, Outcome, Phases, RunReport, StepOutcome, StepReport};
use crate::runner::Order;

/// Columns of the waterfall.
const WIDTH: usize = 32;
/// One glyph per phase, in the order of [`Phases::NAMES`].
const GLYPHS: [char; 5] = ['·', '░', '▒', '█', '▓'];

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const ODD: Style = AnsiColor::Yellow.on_default();
pub const DIM: Style = Style::new().dimmed();

/// Marks an outcome.
pub fn mark(outcome: &StepOutcome) -> (char, Style) {
    match outcome {
        StepOutcome::Passed => ('✔', GOOD),
        StepOutcome::Failed(_) => ('✘', BAD),
        StepOutcome::Errored { .. } => ('!', ODD),
        StepOutcome::Blocked | StepOutcome::NotNeeded => ('-', DIM),
    }
}

/// `rerun` is the command that repeats the run, up to `--until`.
pub fn render(order: &Order, report: &RunReport, rerun: &str) -> String {
    let mut out = String::new();
    let (word, style) = match &report.outcome {
        Outcome::Passed if report.degraded => ("passed, slower than slo.latency".to_owned(), ODD),
        Outcome::Passed => ("passed".to_owned(), GOOD),
        Outcome::Failed(reason) => (format!("failed: {reason}"), BAD),
        Outcome::Errored(fault) => (format!("errored: {fault} (says nothing of the target)"), ODD),
    };
    let _ = writeln!(
        out,
        "{style}{word}{style:#}  {} ({})  in {}  {DIM}trace {}{DIM:#}",
        report.key,
        order.journey.title,
        show_duration(report.duration),
        report.trace_id
    );
    let names = report.steps.iter().chain(&report.cleanup).map(|s| s.id.as_str().len());
    let name_width = names.max().unwrap_or(4).max(4);
    let total = report
        .steps
        .iter()
        .chain(&report.cleanup)
        .filter_map(|s| s.exchange.as_ref())
        .map(|e| e.started_after + e.duration)
        .max()
        .unwrap_or_default();
    for step in &report.steps {
        write_step(&mut out, order, rerun, step, name_width, total);
    }
    for step in &report.cleanup {
        if report.cleanup.first().is_some_and(|first| first.id == step.id) {
            let _ = writeln!(out, "  {DIM}cleanup{DIM:#}");
        }
        write_step(&mut out, order, rerun, step, name_width, total);
    }
    let legend: Vec<String> = Phases::NAMES.iter().zip(GLYPHS).map(|(name, glyph)| format!("{glyph} {name}")).collect();
    let _ = writeln!(out, "  {DIM}{}{DIM:#}\n", legend.join("  "));
    out
}

fn write_step(out: &mut String, order: &Order, rerun: &str, step: &StepReport, name_width: usize, total: Duration) {
    let (glyph, style) = mark(&step.outcome);
    let id = step.id.as_str();
    let Some(exchange) = &step.exchange else {
        let word = match &step.outcome {
            StepOutcome::Blocked => "blocked by the step that failed",
            StepOutcome::NotNeeded => "not needed",
            _ => "",
        };
        let _ = writeln!(out, "  {style}{glyph}{style:#} {id:<name_width$}  {DIM}{word}{DIM:#}");
        write_trouble(out, order, rerun, step);
        return;
    };
    let status = exchange.status.map_or_else(|| "---".to_owned(), |s| s.to_string());
    let _ = writeln!(
        out,
        "  {style}{glyph}{style:#} {id:<name_width$}  {status}  {:>8}  ▕{}▏ {} {}",
        show_duration(exchange.duration),
        bar(exchange, total),
        exchange.method,
        exchange.url
    );
    let phases: Vec<String> = Phases::NAMES
        .iter()
        .zip(exchange.phases.values())
        .filter(|(_, value)| !value.is_zero())
        .map(|(name, value)| format!("{name} {}", show_duration(value)))
        .collect();
    let mut facts = phases;
    if exchange.connection_reused {
        facts.push("connection reused".to_owned());
    }
    if !exchange.redirects.is_empty() {
        let n = exchange.redirects.len();
        facts.push(format!("after {n} redirect{}", if n == 1 { "" } else { "s" }));
    }
    if let Some(version) = exchange.http_version {
        facts.push(format!("HTTP/{version}"));
    }
    facts.push(show_size(exchange.body_bytes));
    if exchange.polls > 0 {
        facts.push(format!("asked {} times", exchange.polls + 1));
    }
    let _ = writeln!(out, "    {:<name_width$}  {DIM}{}{DIM:#}", "", facts.join(", "));
    for (index, retried) in exchange.retries.iter().enumerate() {
        let after = show_duration(retried.after);
        let text = format!("attempt {} failed after {after}: {}, {}", index + 1, retried.reason, retried.got);
        let _ = writeln!(out, "    {:<name_width$}  {ODD}retry: {}{ODD:#}", "", one_line(&text));
    }
    for warning in &exchange.warnings {
        let _ = writeln!(out, "    {:<name_width$}  {ODD}note: {}{ODD:#}", "", one_line(warning));
    }
    write_trouble(out, order, rerun, step);
}

/// What failed, in the order in which people ask.
fn write_trouble(out: &mut String, order: &Order, rerun: &str, step: &StepReport) {
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "      {DIM}{name:<9}{DIM:#} {}", one_line(text));
    };
    match &step.outcome {
        StepOutcome::Failed(failure) => {
            let kind =
                if failure.kind == failure.reason.as_str() { String::new() } else { format!(" ({})", failure.kind) };
            line("reason", &format!("{}{kind}, {}", failure.reason, failure.subject));
            line("expected", &failure.expected);
            line("got", &failure.got);
            line("where", &failure.place);
        }
        StepOutcome::Errored { fault, detail } => {
            line("fault", fault.as_str());
            line("detail", detail);
        }
        StepOutcome::Passed | StepOutcome::Blocked | StepOutcome::NotNeeded => return,
    }
    let Some(exchange) = &step.exchange else { return };
    if !exchange.request_id.is_empty() {
        line("request", &format!("X-Request-ID {}", exchange.request_id));
    }
    for (name, value) in &exchange.response_ids {
        line("response", &format!("{name} {value}"));
    }
    for hop in &exchange.redirects {
        line("redirect", &format!("{} from {}", hop.status, hop.url));
    }
    if let Some(curl) = &exchange.curl {
        line("curl", curl);
        line("rerun", &format!("{rerun} --until {}", step.id));
    }
    if let Some(runbook) = &order.journey.runbook {
        line("runbook", runbook);
    }
}

/// Target text is never trusted in a terminal.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The step's place within the run, one glyph per slice of time.
fn bar(exchange: &ExchangeReport, total: Duration) -> String {
    let column = |at: Duration| {
        let share = if total.is_zero() { 0.0 } else { at.as_secs_f64() / total.as_secs_f64() };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a small width"
        )]
        let column = (share * WIDTH as f64).round() as usize;
        column.min(WIDTH)
    };
    let start = column(exchange.started_after).min(WIDTH - 1);
    let mut cells: Vec<char> = vec![' '; WIDTH];
    let mut at = exchange.started_after;
    for (value, glyph) in exchange.phases.values().into_iter().zip(GLYPHS) {
        let from = column(at);
        at += value;
        for cell in cells.iter_mut().take(column(at)).skip(from) {
            *cell = glyph;
        }
    }
    // Something is to be seen of every step, however short.
    if cells[start..].iter().all(|c| *c == ' ') {
        cells[start] = '█';
    }
    cells.into_iter().collect()
}
