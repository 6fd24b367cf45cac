//! The demo's live view: a board redrawn in place on a terminal, a line per run elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use anstyle::Style;

use crate::cli::print;
use crate::cli::waterfall::{BAD, DIM, GOOD, ODD, one_line};
use crate::clock::now;
use crate::ids::JourneyKey;
use crate::journey::Journey;
use crate::pipeline::Input;
use crate::quantity::show_duration;
use crate::report::{Outcome, RunReport, StepOutcome};

/// Runs shown per journey.
const HISTORY: usize = 30;

/// What there is to open.
pub struct Links {
    pub shop: String,
    pub daemon: String,
}

#[derive(Default)]
struct Row {
    history: VecDeque<(char, Style)>,
    duration: String,
    state: String,
    style: Style,
}

pub struct Board {
    links: Links,
    rows: BTreeMap<JourneyKey, Row>,
    live: bool,
    /// Lines on the screen that the next drawing replaces.
    drawn: usize,
    /// Columns at the last drawing.
    width: usize,
}

impl Board {
    pub fn new(links: Links, journeys: &[Arc<Journey>]) -> Self {
        let rows = journeys.iter().flat_map(|j| &j.plans).map(|plan| (plan.key.clone(), Row::default())).collect();
        Self { links, rows, live: std::io::stdout().is_terminal(), drawn: 0, width: 0 }
    }

    pub fn open(&mut self) -> std::io::Result<()> {
        print(&self.heading())?;
        if self.live { self.draw() } else { Ok(()) }
    }

    fn heading(&self) -> String {
        let Links { shop, daemon } = &self.links;
        let bold = Style::new().bold();
        format!(
            "{bold}journeyd demo{bold:#}: a small shop on this machine, and its journeys every 3 s.\n\n\
             \x20 shop     {shop}/\n\
             \x20 faults   {shop}/faults   break something here\n\
             \x20 chat     {shop}/chat     what a channel would be told\n\
             \x20 metrics  {daemon}/metrics\n\
             \x20 health   {daemon}/-/ready\n\n\
             Ctrl-C stops.\n\n"
        )
    }

    /// An error means that nobody is looking any more.
    pub fn show(&mut self, event: &Input) -> std::io::Result<()> {
        let (key, mark, style, duration, state) = match event {
            Input::Report(report) => {
                let (mark, style, state) = summary(report);
                (&report.key, mark, style, show_duration(report.duration), state)
            }
            Input::Missed { key, reason, .. } => (key, '·', DIM, String::new(), format!("missed: {reason}")),
            Input::Configure(_) | Input::Act { .. } => return Ok(()),
        };
        if self.live {
            if let Some(row) = self.rows.get_mut(key) {
                row.history.push_back((mark, style));
                if row.history.len() > HISTORY {
                    row.history.pop_front();
                }
                // A missed run says nothing; what the last one found still stands.
                if matches!(event, Input::Report(_)) || row.state.is_empty() {
                    row.duration = duration;
                    row.state = state;
                    row.style = style;
                }
            }
            self.draw()
        } else {
            let time = now().to_utc().format("%H:%M:%S");
            let name = key.to_string();
            print(&format!("{time}  {style}{mark}{style:#} {name:<18} {duration:>8}  {style}{state}{style:#}\n"))
        }
    }

    pub fn close(&mut self) {
        let _ = print("\nStopping: cleanup runs.\n");
    }

    fn draw(&mut self) -> std::io::Result<()> {
        let width = columns();
        if std::mem::replace(&mut self.width, width) != width && self.drawn > 0 {
            // Wrapped lines cannot be counted: start over on a clean screen.
            print(&format!("\x1b[2J\x1b[H{}", self.heading()))?;
            self.drawn = 0;
        }
        // Room for the reason comes before room for history.
        let history = if width >= 120 { HISTORY } else { 10.min(width.saturating_sub(50)).max(3) };
        let mut out = String::new();
        if self.drawn > 0 {
            // Up to the board's first line, and clear from there.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        let head = format!("  {:<16} {:<history$} {:>8}  now", "journey", "runs", "last");
        let _ = writeln!(out, "{DIM}{}{DIM:#}", cut(&head, width));
        for (key, row) in &self.rows {
            let skip = row.history.len().saturating_sub(history);
            let runs: String =
                row.history.iter().skip(skip).map(|(mark, style)| format!("{style}{mark}{style:#}")).collect();
            let gap = " ".repeat(history - (row.history.len() - skip));
            let room = width.saturating_sub(2 + 16 + 1 + history + 1 + 8 + 2);
            let (style, state) = (row.style, cut(&row.state, room));
            let name = cut(&key.to_string(), 16);
            let _ = writeln!(out, "  {name:<16} {runs}{gap} {:>8}  {style}{state}{style:#}", row.duration);
        }
        self.drawn = self.rows.len() + 1;
        print(&out)
    }
}

/// `text` in at most `width` columns, marked where it was cut.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A run in one glyph and a few words.
fn summary(report: &RunReport) -> (char, Style, String) {
    let culprit = report.culprit();
    match (&report.outcome, culprit.map(|s| (&s.id, &s.outcome))) {
        (Outcome::Passed, _) if report.degraded => ('✔', ODD, "passed, slow".to_owned()),
        (Outcome::Passed, _) => ('✔', GOOD, "passed".to_owned()),
        (Outcome::Failed(reason), Some((step, StepOutcome::Failed(failure)))) => {
            ('✘', BAD, one_line(&format!("{step}: {reason}, expected {}, got {}", failure.expected, failure.got)))
        }
        (Outcome::Failed(reason), _) => ('✘', BAD, reason.to_string()),
        (Outcome::Errored(fault), _) => ('!', ODD, format!("errored: {fault}")),
    }
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(100, |size| usize::from(size.ws_col)).max(30)
}
