//! The demo's live view: a board redrawn in place on a terminal, a line per run elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use anstyle::Style;

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
}

impl Board {
    pub fn new(links: Links, journeys: &[Arc<Journey>]) -> Self {
        let rows = journeys.iter().flat_map(|j| &j.plans).map(|plan| (plan.key.clone(), Row::default())).collect();
        Self { links, rows, live: std::io::stdout().is_terminal(), drawn: 0 }
    }

    pub fn open(&mut self) {
        let Links { shop, daemon } = &self.links;
        let bold = Style::new().bold();
        anstream::println!(
            "{bold}journeyd demo{bold:#}: a small shop on this machine, and its journeys every 3 s.\n\n\
             \x20 shop     {shop}/\n\
             \x20 faults   {shop}/faults   break something here\n\
             \x20 metrics  {daemon}/metrics\n\
             \x20 health   {daemon}/-/ready\n\n\
             Ctrl-C stops.\n"
        );
        if self.live {
            self.draw();
        }
        let _ = std::io::stdout().flush();
    }

    pub fn show(&mut self, event: &Input) {
        let (key, mark, style, duration, state) = match event {
            Input::Report(report) => {
                let (mark, style, state) = summary(report);
                (&report.key, mark, style, show_duration(report.duration), state)
            }
            Input::Missed { key, reason, .. } => (key, '·', DIM, String::new(), format!("missed: {reason}")),
        };
        if self.live {
            if let Some(row) = self.rows.get_mut(key) {
                row.history.push_back((mark, style));
                if row.history.len() > HISTORY {
                    row.history.pop_front();
                }
                row.duration = duration;
                row.state = state;
                row.style = style;
            }
            self.draw();
        } else {
            let time = now().to_utc().format("%H:%M:%S");
            anstream::println!(
                "{time}  {style}{mark}{style:#} {:<18} {duration:>8}  {style}{state}{style:#}",
                key.to_string()
            );
        }
        let _ = std::io::stdout().flush();
    }

    pub fn close(&mut self) {
        anstream::println!("\nStopping: cleanup runs.");
    }

    fn draw(&mut self) {
        let width = columns();
        let mut out = String::new();
        if self.drawn > 0 {
            // Up to the board's first line, and clear from there.
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        let _ = writeln!(out, "  {DIM}{:<18} {:<HISTORY$} {:>8}  now{DIM:#}", "journey", "last runs", "last");
        for (key, row) in &self.rows {
            let runs: String = row.history.iter().map(|(mark, style)| format!("{style}{mark}{style:#}")).collect();
            let gap = " ".repeat(HISTORY - row.history.len());
            let room = width.saturating_sub(2 + 18 + 1 + HISTORY + 1 + 8 + 2 + 1);
            let state: String = row.state.chars().take(room.max(10)).collect();
            let style = row.style;
            let _ = writeln!(out, "  {:<18} {runs}{gap} {:>8}  {style}{state}{style:#}", key.to_string(), row.duration);
        }
        self.drawn = self.rows.len() + 1;
        anstream::print!("{out}");
    }
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
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(100, |size| usize::from(size.ws_col)).max(60)
}
