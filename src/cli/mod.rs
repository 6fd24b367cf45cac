//! The command line.

mod board;
mod check;
mod demo;
mod notify;
mod run;
mod serve;
mod service;
mod waterfall;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::files::{Files, environment};
use crate::config::{LoadError, Request};
use crate::diag::{Diagnostic, Gravity, render_all};
use crate::notify::outbox::Sender;
use crate::runner::Runner;
use crate::store::{Restored, Store, StoreSettings};
use crate::telemetry::{LogFormat, LogLevel};

/// Walks the paths that a site's users walk, on a schedule, and says what broke.
///
/// Exit codes: 0 fine; 1 a journey failed; 2 configuration or usage; 3 journeyd's own fault.
#[derive(Parser)]
#[command(name = "journeyd", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log lines for people or for machines.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    /// How much is logged (to stderr).
    #[arg(long, global = true, value_enum)]
    log_level: Option<LogLevel>,
}

#[derive(Subcommand)]
enum Command {
    /// A small shop and the shipped journeys against it, every 3 s. Needs no file.
    Demo(DemoArgs),
    /// The daemon: runs journeys on their schedules and serves metrics.
    Serve(ServeArgs),
    /// Validates configuration and journeys; tells every mistake at once.
    Check(CheckArgs),
    /// Runs journeys once, now, and shows what happened.
    Run(RunArgs),
    /// Receivers of messages.
    Notify {
        #[command(subcommand)]
        command: NotifyCommand,
    },
}

#[derive(Subcommand)]
enum NotifyCommand {
    /// Sends one harmless message to a receiver of the configuration and says what became of it.
    Test(NotifyTestArgs),
}

#[derive(Args)]
struct NotifyTestArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The receiver: NAME of [receivers.NAME].
    #[arg(value_name = "RECEIVER")]
    receiver: String,
}

#[derive(Args)]
struct ConfigArg {
    /// The configuration file [default: config/journeyd.toml, else /etc/journeyd/journeyd.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct DemoArgs {
    /// Where metrics are served [default: 127.0.0.1:15769, the next free port if taken].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the shop is served [default: 127.0.0.1:15770, the next free port if taken].
    #[arg(long, value_name = "ADDRESS")]
    shop_listen: Option<SocketAddr>,
}

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Listens here instead of at `server.listen`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Tries everything without traces: the store is temporary, messages go to the log instead of their receivers.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Journeys to check, by id or path [default: the configuration and all its journeys].
    #[arg(value_name = "JOURNEY")]
    journeys: Vec<String>,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Journeys to run, by id or path.
    #[arg(value_name = "JOURNEY", required = true)]
    journeys: Vec<String>,
    /// Runs only this variant.
    #[arg(long, value_name = "ID")]
    variant: Option<String>,
    /// Stops after this step.
    #[arg(long, value_name = "STEP")]
    until: Option<String>,
    /// Uses this instead of the journey's `base_url`.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Sets a var of the journey.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_var)]
    var: Vec<(String, String)>,
}

fn parse_var(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    OwnFault = 3,
}

/// Runs the command of the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = match cli.command {
        Command::Demo(_) => LogLevel::Error,
        Command::Run(_) | Command::Notify { .. } => LogLevel::Warn,
        Command::Serve(_) | Command::Check(_) => LogLevel::Info,
    };
    #[cfg(debug_assertions)]
    crate::failpoint::arm(&environment());
    crate::telemetry::init(cli.log_level.unwrap_or(quiet), cli.log_format);
    let exit = match cli.command {
        Command::Check(args) => check::check(&args),
        Command::Demo(args) => in_runtime(demo::demo(args)),
        Command::Serve(args) => in_runtime(serve::serve(args)),
        Command::Run(args) => in_runtime(run::run(args)),
        Command::Notify { command: NotifyCommand::Test(args) } => in_runtime(notify::test(args)),
    };
    ExitCode::from(exit as u8)
}

/// One thread runs all journeys: a step costs it less than 0.1 ms, so thousands of journeys use a few percent of it,
/// and handing tasks from thread to thread costs more than running them (see `benches/`). Big bodies, the metrics'
/// text and the store have threads of their own.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn in_runtime(work: impl Future<Output = Exit>) -> Exit {
    match runtime() {
        Ok(runtime) => {
            let exit = runtime.block_on(work);
            // Parsers on blocking threads have budgets of their own; do not wait longer than those.
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            exit
        }
        Err(error) => own_fault(&format!("cannot start: {error}")),
    }
}

/// Tells people on stderr, redacted like every sink.
fn say(text: &str) {
    use std::io::Write as _;
    // Nobody is left to be told when this fails.
    let _ = writeln!(anstream::stderr(), "{}", crate::secret::redact_for_sinks(text));
}

/// Writes to stdout; a closed pipe or a full disk is the caller's to handle, not a panic.
fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn own_fault(text: &str) -> Exit {
    say(&format!("error: {text}"));
    Exit::OwnFault
}

fn tell(findings: &[Diagnostic]) {
    if !findings.is_empty() {
        say(render_all(findings, std::io::stderr().is_terminal()).trim_end());
    }
}

fn tell_load_error(error: &LoadError) -> Exit {
    if let LoadError::Unreadable { error: io, .. } = error
        && matches!(io.raw_os_error(), Some(23 | 24))
    {
        // ENFILE, EMFILE: the file is fine, this process is not.
        return own_fault(&error.to_string());
    }
    say(&format!("error: {error}"));
    Exit::Usage
}

/// A request for files on disk with this process's environment.
fn disk_request(config: Option<PathBuf>, unset: Gravity) -> Request<'static> {
    Request {
        files: &Files::Disk,
        env: environment(),
        config,
        select: None,
        unset,
        overrides: BTreeMap::new(),
        base_url: None,
        every: None,
    }
}

/// For the figures in `benches/`.
pub(crate) fn bench_request(path: &std::path::Path) -> Request<'static> {
    disk_request(Some(path.to_owned()), Gravity::Error)
}

/// A store in a folder that goes away with the process.
fn temporary_store(keep: crate::store::Keep) -> Result<(tempfile::TempDir, (Store, Restored)), String> {
    let dir =
        tempfile::Builder::new().prefix("journeyd-").tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let settings = StoreSettings { dir: dir.path().join("data"), keep };
    let store = Store::open(&settings).map_err(|e| format!("cannot open a store in {}: {e}", dir.path().display()))?;
    Ok((dir, store))
}

/// The sender of messages, with what runs use.
fn sender(runner: &Runner) -> Result<Sender, String> {
    let (tls, resolver) = runner.client_parts();
    Sender::new(tls, resolver).map_err(|error| format!("cannot set up the sender of messages: {error}"))
}

const NO_CONFIG: &str = "there is no configuration: neither config/journeyd.toml here nor /etc/journeyd/journeyd.toml.\n\
    Give one with --config, or a journey's file by its path.";
