//! What a message says, in pieces that each dialect puts into its own markup. The words and their order are written
//! here, once for all of them.

use crate::clock::Timestamp;
use crate::journey::Severity;
use crate::notify::message::{AlertFact, Because, Kind, Message, Standing, lasting};

/// Journeys that a message names; the rest is counted.
const MOST_ALERTS: usize = 12;
/// Headlines that a digest names.
const MOST_LINES: usize = 30;

/// A bit of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Strong(String),
    /// What came from a target or a file: shown as it is.
    Code(String),
    /// The same, cut to so many characters.
    ShortCode(String, usize),
    Time(Timestamp),
    Link(String),
}

/// A line, with a label where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub label: &'static str,
    pub pieces: Vec<Piece>,
}

/// How it is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Bad,
    Warning,
    Good,
    Note,
}

/// A message, ready to be put into markup.
#[derive(Debug, Clone)]
pub struct Story {
    /// Title and key of the journey.
    pub title: String,
    /// The whole in one line.
    pub headline: String,
    pub tone: Tone,
    pub lines: Vec<Line>,
    /// A command to be copied, and the one that signs in anew.
    pub reproduce: Option<(String, String)>,
    /// Small print.
    pub footer: Vec<Vec<Piece>>,
}

/// How a dialect marks up.
pub trait Markup {
    fn text(&self, text: &str) -> String;
    fn strong(&self, text: &str) -> String;
    fn code(&self, text: &str, max: usize) -> String;
    fn time(&self, at: Timestamp) -> String;
    fn link(&self, url: &str) -> String;
}

/// Longest piece of code.
pub const CODE: usize = 500;

/// Pieces in a dialect's markup.
pub fn pieces(markup: &impl Markup, pieces: &[Piece]) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => markup.text(text),
        Piece::Strong(text) => markup.strong(text),
        Piece::Code(text) => markup.code(text, CODE),
        Piece::ShortCode(text, max) => markup.code(text, *max),
        Piece::Time(at) => markup.time(*at),
        Piece::Link(url) => markup.link(url),
    };
    pieces.iter().map(piece).collect()
}

/// Lines in a dialect's markup, one each.
pub fn lines(markup: &impl Markup, lines: &[Line]) -> Vec<String> {
    lines
        .iter()
        .map(|line| match line.label {
            "" => pieces(markup, &line.pieces),
            label => format!("{} {}", markup.strong(label), pieces(markup, &line.pieces)),
        })
        .collect()
}

/// The small print in one line.
pub fn footer(markup: &impl Markup, story: &Story) -> String {
    story.footer.iter().map(|part| pieces(markup, part)).collect::<Vec<_>>().join(" · ")
}

fn text(text: impl Into<String>) -> Piece {
    Piece::Text(text.into())
}

fn code(text: &(impl ToString + ?Sized)) -> Piece {
    Piece::Code(text.to_string())
}

fn line(label: &'static str, pieces: Vec<Piece>) -> Line {
    Line { label, pieces }
}

impl Story {
    pub fn of(message: &Message) -> Self {
        let reproduce = message
            .failure
            .as_ref()
            .filter(|_| matches!(message.kind, Kind::Firing | Kind::Updated))
            .and_then(|facts| Some((facts.curl.clone()?, message.rerun().unwrap_or_default())));
        Self {
            title: title(message),
            headline: message.headline(),
            tone: tone(message),
            lines: body(message),
            reproduce,
            footer: small_print(message),
        }
    }
}

fn word(message: &Message) -> &'static str {
    match (message.kind, message.because) {
        (Kind::Updated, Because::Acknowledged) => "ACKNOWLEDGED",
        (Kind::Firing, Because::Escalated) => "ESCALATED",
        (Kind::Firing, _) => "FIRING",
        (Kind::Updated | Kind::Reminder, _) => "STILL FIRING",
        (Kind::Flapping, _) => "FLAPPING",
        (Kind::Resolved, _) => "RESOLVED",
        (Kind::Digest, _) => "DIGEST",
        (Kind::Test, _) => "TEST",
    }
}

fn title(message: &Message) -> String {
    let word = word(message);
    let more = match message.others() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let rule = if message.rule.as_str() == "down" { String::new() } else { format!(", {}", message.rule) };
    match message.kind {
        Kind::Digest => format!("{word}  messages: {}", message.counted),
        _ => format!("{word}  {} ({}{rule}){more}", message.journey.title, message.journey.key()),
    }
}

fn tone(message: &Message) -> Tone {
    match (message.kind, message.severity) {
        (Kind::Resolved, _) => Tone::Good,
        (Kind::Digest, _) => Tone::Bad,
        (Kind::Test, _) | (_, Severity::Info) => Tone::Note,
        (_, Severity::Warning) => Tone::Warning,
        (_, Severity::Critical) => Tone::Bad,
    }
}

fn body(message: &Message) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(receiver) = &message.instead_of {
        lines
            .push(line("", vec![text("This could not be delivered to "), code(receiver), text(", which it was for.")]));
    }
    match message.kind {
        Kind::Test => {
            return vec![line(
                "",
                vec![
                    text("This receiver works. journeyd at "),
                    code(&message.journey.location),
                    text(" sent this because somebody asked it to."),
                ],
            )];
        }
        Kind::Digest => {
            lines.push(line(
                "",
                vec![text("More messages than this channel takes in an hour (its budget). They were:")],
            ));
            lines.extend(
                message
                    .lines
                    .iter()
                    .take(MOST_LINES)
                    .map(|headline| line("", vec![Piece::ShortCode(headline.clone(), 200)])),
            );
            let shown = message.lines.len().min(MOST_LINES);
            if message.counted as usize > shown {
                lines.push(line("", vec![text(format!("and {} more", message.counted as usize - shown))]));
            }
            return lines;
        }
        Kind::Resolved => resolved(message, &mut lines),
        Kind::Firing | Kind::Updated | Kind::Reminder | Kind::Flapping => firing(message, &mut lines),
    }
    for cost in &message.slos {
        let spent = if message.kind == Kind::Resolved { "cost" } else { "has cost" };
        lines.push(line(
            "Error budget",
            vec![text(format!(
                "this outage {spent} {} of the {} budget of {} ({} %){}",
                percent(cost.cost),
                cost.slo,
                lasting(cost.window),
                cost.objective,
                cost.remaining.map(|left| format!("; {} is left", percent(left))).unwrap_or_default(),
            ))],
        ));
    }
    if let Some(runbook) = &message.journey.runbook {
        lines.push(line("Runbook", vec![Piece::Link(runbook.clone())]));
    }
    lines
}

/// `12 %`, `0.4 %`, `-30 %`.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent.abs() >= 10.0 || percent == 0.0 { format!("{percent:.0} %") } else { format!("{percent:.1} %") }
}

fn resolved(message: &Message, lines: &mut Vec<Line>) {
    let took = lasting(message.duration());
    let is_down = message.rule.as_str() == "down";
    lines.push(match message.because {
        Because::WasDown if is_down => line(
            "",
            vec![
                text("It "),
                Piece::Strong(format!("was down for {took}")),
                text(
                    " and passes again. No alert reached this channel meanwhile: it healed before one was due, or \
                     could not be delivered.",
                ),
            ],
        ),
        Because::WasDown => line(
            "",
            vec![
                text("It lasted "),
                Piece::Strong(took),
                text(
                    " and is over. No alert reached this channel meanwhile: it was over before one was due, or could \
                      not be delivered.",
                ),
            ],
        ),
        Because::Removed => line(
            "",
            vec![text(format!("No longer watched after {took}: the journey or its rule was removed or disabled."))],
        ),
        Because::FlappingEnded => {
            line("", vec![text("It no longer changes back and forth. That lasted "), Piece::Strong(took), text(".")])
        }
        _ if is_down => line("", vec![text("Passes again. It was down for "), Piece::Strong(took), text(".")]),
        _ => line("", vec![text("Over. It lasted "), Piece::Strong(took), text(".")]),
    });
    let mut down = vec![text("from "), Piece::Time(message.began())];
    if let Some(at) = message.resolved_at {
        down.extend([text(" until "), Piece::Time(at)]);
    }
    if message.failed_runs > 0 && is_down {
        down.push(text(format!(", {}", runs(message.failed_runs))));
    }
    lines.push(line(if is_down { "Down" } else { "Lasted" }, down));
    if message.others() > 0 {
        lines.push(line("Journeys", list(message.journeys().iter().map(ToString::to_string).collect())));
    }
    match &message.failure {
        Some(facts) => lines.push(line("It was", vec![code(&facts.step), text(" "), code(&facts.failure.reason)])),
        None if !message.detail.is_empty() => lines.push(line("What", vec![code(&message.detail)])),
        None => {}
    }
}

fn firing(message: &Message, lines: &mut Vec<Line>) {
    if message.kind == Kind::Flapping {
        lines.push(line(
            "",
            vec![text(
                "It changes back and forth. This channel stays quiet until it is stable, but for one line an hour.",
            )],
        ));
    }
    if !message.news.is_empty() {
        lines.push(line("New", list(message.news.clone())));
    }
    if let Some(ack) = &message.acknowledged {
        let mut pieces = vec![text("by "), code(&ack.author), text(", "), Piece::Time(ack.at)];
        if !ack.note.is_empty() {
            pieces.extend([text(": "), code(&ack.note)]);
        }
        lines.push(line("Acknowledged", pieces));
    }
    match &message.failure {
        Some(facts) => {
            let status = facts.status.map(|s| format!(" {s}")).unwrap_or_default();
            lines.push(line(
                "Step",
                vec![code(&facts.step), text(" failed: "), code(&facts.failure.reason), text(status)],
            ));
            lines.push(line("Request", vec![code(&format!("{} {}", facts.method, facts.url))]));
            lines.push(line("Expected", vec![code(&facts.failure.expected)]));
            lines.push(line(
                "Got",
                vec![
                    code(&facts.failure.got),
                    text(" (looked at: "),
                    Piece::ShortCode(facts.failure.subject.clone(), 80),
                    text(")"),
                ],
            ));
            let ids = |ids: &[crate::ids::StepId]| list(ids.iter().map(ToString::to_string).collect());
            if !facts.passed.is_empty() {
                lines.push(line("Passed before it", ids(&facts.passed)));
            }
            if !facts.blocked.is_empty() {
                lines.push(line("Blocked after it", ids(&facts.blocked)));
            }
        }
        None if !message.detail.is_empty() => lines.push(line("What", vec![code(&message.detail)])),
        None => {}
    }
    if message.rule.as_str() == "challenged" {
        lines.push(line("", vec![text("The site refuses the monitor, not its users: allow-list it there.")]));
    }
    if message.steps.len() > 1 {
        lines.push(line("Steps that failed so far", list(message.steps.iter().map(ToString::to_string).collect())));
    }
    others(message, lines);
    let variants = |ids: &[crate::ids::VariantId]| list(ids.iter().map(ToString::to_string).collect());
    if !message.works_for.is_empty() {
        lines.push(line("Works for", variants(&message.works_for)));
    }
    if !message.fails_for.is_empty() {
        lines.push(line("Fails also for", variants(&message.fails_for)));
    }
    let mut since = vec![Piece::Time(message.began())];
    if message.failed_runs > 0 && message.rule.as_str() == "down" {
        since.push(text(format!(", {}", runs(message.failed_runs))));
    }
    lines.push(line("Since", since));
    if message.rule.as_str() == "down" {
        lines.push(match message.last_good {
            Some(at) => line("Last good run", vec![Piece::Time(at)]),
            None => line("Last good run", vec![text("none on record")]),
        });
    }
}

/// The other journeys of the outage.
fn others(message: &Message, lines: &mut Vec<Line>) {
    let Some((_, others)) = message.alerts.split_first().filter(|(_, others)| !others.is_empty()) else { return };
    let standing = |wanted: Standing| others.iter().filter(|a| a.standing == wanted).count();
    let mut counts = Vec::new();
    for (wanted, word) in [
        (Standing::Firing, "firing"),
        (Standing::Pending, "on the way to firing"),
        (Standing::Inhibited, "depending on it"),
        (Standing::Resolved, "passing again"),
    ] {
        if standing(wanted) > 0 {
            counts.push(format!("{} {word}", standing(wanted)));
        }
    }
    lines.push(line("Same cause", vec![text(format!("{} more: {}", others.len(), counts.join(", ")))]));
    for alert in others.iter().take(MOST_ALERTS) {
        let mut pieces = vec![text("• "), code(&alert.journey.key()), text(" ")];
        if alert.rule.as_str() != "down" {
            pieces.push(text(format!("{}: ", alert.rule)));
        }
        pieces.push(Piece::ShortCode(alert.detail.clone(), 200));
        pieces.push(text(standing_of(alert)));
        lines.push(line("", pieces));
    }
    if others.len() > MOST_ALERTS {
        lines.push(line("", vec![text(format!("• and {} more", others.len() - MOST_ALERTS))]));
    }
}

fn standing_of(alert: &AlertFact) -> String {
    match alert.standing {
        Standing::Firing => String::new(),
        Standing::Pending => format!(" ({} so far)", runs(alert.failed_runs)),
        Standing::Inhibited => " (depends on it)".to_owned(),
        Standing::Resolved => " (passes again)".to_owned(),
    }
}

fn small_print(message: &Message) -> Vec<Vec<Piece>> {
    let mut parts = Vec::new();
    let fires = !matches!(message.kind, Kind::Resolved | Kind::Digest);
    if let Some(facts) = message.failure.as_ref().filter(|_| fires) {
        parts.push(vec![text("X-Request-ID "), code(&facts.request_id)]);
        parts.push(vec![text("trace "), code(&facts.trace_id)]);
        let told = |(_, value): &&(String, String)| *value != facts.request_id;
        for (name, value) in facts.response_ids.iter().filter(told).take(4) {
            parts.push(vec![Piece::ShortCode(format!("{name}: {value}"), 120)]);
        }
    }
    if !matches!(message.kind, Kind::Test | Kind::Digest) {
        parts.push(vec![text(format!("severity {}", message.severity.as_str()))]);
        if let Some(owner) = &message.journey.owner {
            parts.push(vec![text(format!("owner {}", cut(owner, 100)))]);
        }
        parts.push(vec![text(format!("incident {}", message.incident))]);
        if message.kind == Kind::Reminder {
            parts.push(vec![text(format!("reminder {}", message.repeat))]);
        }
    }
    parts.push(vec![text(format!("journeyd at {}", message.journey.location))]);
    parts
}

fn runs(count: u32) -> String {
    if count == 1 { "1 failed run".to_owned() } else { format!("{count} failed runs") }
}

fn list(ids: Vec<String>) -> Vec<Piece> {
    let more = ids.len().saturating_sub(10);
    let mut out = Vec::new();
    for id in ids.into_iter().take(10) {
        if !out.is_empty() {
            out.push(text(", "));
        }
        out.push(Piece::Code(id));
    }
    if more > 0 {
        out.push(text(format!(" and {more} more")));
    }
    out
}

/// At most `max` characters, with an ellipsis where it was cut.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// Text of a target on one line, without what would turn the direction of writing or move a cursor.
pub fn tame(text: &str) -> String {
    harmless(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The same with its spaces.
pub fn harmless(text: &str) -> String {
    let keeps =
        |c: &char| !c.is_control() && !('\u{202a}'..='\u{202e}').contains(c) && !('\u{2066}'..='\u{2069}').contains(c);
    text.chars().filter(keeps).collect()
}

/// The last line of defence: whole lines are dropped from the end, so that no markup is cut in two.
pub fn bounded(mut text: String, max: usize) -> String {
    while text.chars().count() > max {
        match text.rfind('\n') {
            Some(end) => text.truncate(end),
            None => return cut(&text, max),
        }
    }
    text
}

/// In a receiver's time zone.
pub fn clock_time(at: Timestamp, zone: chrono_tz::Tz) -> String {
    at.to_utc().with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The colour of a tone, as HTML has it.
pub fn colour(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "#2E7D32",
        Tone::Note => "#1976D2",
        Tone::Warning => "#F9A825",
        Tone::Bad => "#D32F2F",
    }
}
