//! Logs: to stderr, redacted on the way out, whoever wrote them.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;

use crate::secret::redact_for_sinks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Short lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Starts logging and routes panics into it. Dependencies never log below warnings: their debug lines print
/// headers.
pub fn init(level: LogLevel, format: LogFormat) {
    let word = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    // hickory warns of every failing server; the runner tells what matters of it.
    let filter = EnvFilter::new(format!(
        "{others},journeyd={word},hickory_resolver=error,hickory_net=error,hickory_proto=error"
    ));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(RedactedStderr);
    match format {
        LogFormat::Text => builder
            .with_target(false)
            .with_ansi(io::stderr().is_terminal())
            .compact()
            .with_timer(Seconds)
            .fmt_fields(debug_fn(short_field).delimited(" "))
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, message, "journeyd has a bug here: it panicked. Please report it.");
    }));
}

/// The time of a line for people.
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", crate::clock::now().to_utc().format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// Lines that people read are short: what a machine may want to look up is in the JSON form alone.
fn short_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => plainly(writer, &format!("{value:?}")),
        "curl" | "at" => Ok(()),
        name => {
            write!(writer, "{name}=")?;
            plainly(writer, &format!("{value:?}").replace('\n', "\\n"))
        }
    }
}

/// What a target sent must not draw on a terminal, nor turn the direction of a line.
fn plainly(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| match c {
        '\n' => writer.write_char(c),
        c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            write!(writer, "{}", c.escape_default())
        }
        c => writer.write_char(c),
    })
}

struct RedactedStderr;

impl<'a> MakeWriter<'a> for RedactedStderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::with_capacity(256))
    }
}

/// One event's text; written as a whole once complete, so that no secret is split over two writes.
pub struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Fields that are left out leave their gaps.
        let text = format!("{}\n", redact_for_sinks(&String::from_utf8_lossy(&self.0)).trim_end());
        // A log that cannot be written must not stop the monitor.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}
