//! The command line.

mod board;
mod check;
mod client;
mod daemon;
mod demo;
mod editor;
mod export;
mod import;
mod notify;
mod restore;
mod run;
mod serve;
mod service;
mod waterfall;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};

use crate::config::files::{Files, environment};
use crate::config::{self, Config, LoadError, Request, load};
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
    /// Writes a journey from what a browser recorded.
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
    /// Rules for Prometheus, dashboards for Grafana.
    Export {
        #[command(subcommand)]
        command: ExportCommand,
    },
    /// Prints the JSON schema of a file, for editors.
    Schema {
        /// Which file.
        #[arg(value_enum)]
        file: SchemaFile,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Writes manual pages, one for each command.
    Man {
        /// The folder to write them to.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// The running daemon at a glance: journeys, alerts, incidents, receivers. Exits 0 when it is ready, else 3.
    Status(StatusArgs),
    /// Runs a journey of the running daemon at once; the run counts like any other.
    Now(NowArgs),
    /// Incidents of the running daemon.
    Incident {
        #[command(subcommand)]
        command: IncidentCommand,
    },
    /// Silences: nobody is told of what fits, for a while.
    Silence {
        #[command(subcommand)]
        command: SilenceCommand,
    },
    /// Writes a consistent copy of the running daemon's store to a file.
    Backup(BackupArgs),
    /// Makes a backup the store of a daemon that is stopped; the store before is kept aside.
    Restore(RestoreArgs),
    /// Receivers of messages.
    Notify {
        #[command(subcommand)]
        command: NotifyCommand,
    },
}

/// Where the daemon is, and what opens it.
#[derive(Args)]
struct DaemonArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The daemon [default: http:// and server.listen of the configuration].
    #[arg(long, value_name = "URL", env = "JOURNEYD_URL")]
    url: Option<String>,
    /// The file of the API's token [default: api-token in the store's folder; JOURNEYD_TOKEN gives the token itself].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct NowArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// The journey's id.
    #[arg(value_name = "JOURNEY")]
    journey: String,
    /// Which variant; needed where there are some.
    #[arg(long, value_name = "ID")]
    variant: Option<String>,
    /// The whole report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum IncidentCommand {
    /// Open incidents, or all.
    List {
        #[command(flatten)]
        daemon: DaemonArgs,
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// One incident: its first error, alerts, timeline and messages.
    Show {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[arg(value_name = "ID")]
        id: u64,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Says that somebody looks after it: no more reminders, no escalation.
    Ack {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[arg(value_name = "ID")]
        id: u64,
        /// What is being done.
        #[arg(long, default_value = "")]
        note: String,
        /// Who [default: $USER].
        #[arg(long)]
        author: Option<String>,
    },
    /// Takes that back.
    Unack {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[arg(value_name = "ID")]
        id: u64,
    },
}

#[derive(Subcommand)]
enum SilenceCommand {
    /// Adds one; prints its id.
    Add {
        #[command(flatten)]
        daemon: DaemonArgs,
        /// journey=checkout, severity=~"warning|info", service!=shop; all must fit.
        #[arg(value_name = "MATCHER", required = true)]
        matchers: Vec<String>,
        /// Why.
        #[arg(long)]
        comment: String,
        /// For how long.
        #[arg(long, default_value = "1h", value_name = "DURATION")]
        duration: String,
        /// Who [default: $USER].
        #[arg(long)]
        author: Option<String>,
    },
    /// Active silences, or all.
    List {
        #[command(flatten)]
        daemon: DaemonArgs,
        /// Pending and expired ones too.
        #[arg(long)]
        all: bool,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Ends one now; what still fires is told.
    Expire {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[arg(value_name = "ID")]
        id: String,
    },
}

#[derive(Args)]
struct BackupArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// The file to write; it must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
struct RestoreArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// What `journeyd backup` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Subcommand)]
enum ImportCommand {
    /// From a recording of the network panel ("Save all as HAR"), of Chrome, Firefox or another browser.
    Har(ImportArgs),
    /// From "Copy as cURL" (bash): a file, or - for stdin.
    Curl(ImportArgs),
}

#[derive(Args)]
struct ImportArgs {
    /// The recording; - for stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Writes here instead of to stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Keeps requests to this host only [default: that of the first page].
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
}

#[derive(Subcommand)]
enum ExportCommand {
    /// Prints recording and alert rules for the objectives ([slo]) of the configuration's journeys.
    Rules(RulesArgs),
    /// Writes the dashboards, one JSON file each.
    Dashboards {
        /// The folder to write them to.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

#[derive(Args)]
struct RulesArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// For Prometheus itself, or as input for Sloth.
    #[arg(long, value_enum, default_value = "prometheus")]
    format: RulesFormat,
    /// Prints the shipped rules instead, which fit every journey: failing, burn rates, stale, journeyd's own troubles.
    #[arg(long, conflicts_with = "format")]
    generic: bool,
    /// Where docs/runbooks.md can be read, for alerts whose journey has no runbook.
    #[arg(long, value_name = "URL", default_value = "https://runbooks.example/journeyd")]
    runbooks: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RulesFormat {
    Prometheus,
    Sloth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SchemaFile {
    Journey,
    Fragment,
    Config,
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
    /// Serves the shop alone, for a daemon elsewhere to watch.
    #[arg(long, conflicts_with = "listen")]
    shop_only: bool,
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
    /// Reloads when a file of the configuration changes, looked at every 10 s.
    #[arg(long)]
    watch: bool,
}

#[derive(Args)]
struct CheckArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
    /// Journeys to check, by id or path [default: the configuration and all its journeys].
    #[arg(value_name = "JOURNEY")]
    journeys: Vec<String>,
    /// Warnings count as errors.
    #[arg(long)]
    deny_warnings: bool,
    /// Shows what a reload of the running daemon would add, change and remove, and the next five runs of each journey.
    #[arg(long)]
    plan: bool,
    /// How findings and the plan are written.
    #[arg(long, value_enum, default_value = "human")]
    format: CheckFormat,
    /// Environment variables from a file of NAME=value lines; those that are set already win.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum CheckFormat {
    Human,
    /// One JSON document on stdout.
    Json,
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
    /// Environment variables from a file of NAME=value lines; those that are set already win.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Runs again whenever a file that it uses is saved.
    #[arg(long)]
    watch: bool,
    /// Shows every request and response, secrets masked.
    #[arg(long, short)]
    verbose: bool,
    /// How results are written to stdout.
    #[arg(long, value_enum, default_value = "human")]
    output: OutputFormat,
    /// Runs each this often and sums up.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// Runs this many at once.
    #[arg(long, value_name = "M", default_value = "1", value_parser = parse_concurrency)]
    concurrency: usize,
}

fn parse_concurrency(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(|| "expected a number from 1 to 1000".to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// A waterfall per run.
    Human,
    /// One JSON document.
    Json,
    /// JUnit XML, for CI servers.
    Junit,
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
        Command::Serve(_) | Command::Check(_) => LogLevel::Info,
        _ => LogLevel::Warn,
    };
    #[cfg(debug_assertions)]
    crate::failpoint::arm(&environment());
    FOR_MACHINES.store(cli.log_format == LogFormat::Json, Ordering::Relaxed);
    crate::telemetry::init(cli.log_level.unwrap_or(quiet), cli.log_format);
    let exit = match cli.command {
        Command::Check(args) => in_runtime(check::check(args)),
        Command::Demo(args) => in_runtime(demo::demo(args)),
        Command::Serve(args) => in_runtime(serve::serve(args)),
        Command::Run(args) => in_runtime(run::run(args)),
        Command::Status(args) => in_runtime(daemon::status(args)),
        Command::Now(args) => in_runtime(daemon::run_now(args)),
        Command::Incident { command } => in_runtime(daemon::incident(command)),
        Command::Silence { command } => in_runtime(daemon::silence(command)),
        Command::Backup(args) => in_runtime(daemon::backup(args)),
        Command::Restore(args) => restore::restore(&args),
        Command::Notify { command: NotifyCommand::Test(args) } => in_runtime(notify::test(args)),
        Command::Import { command: ImportCommand::Har(args) } => import::har(&args),
        Command::Import { command: ImportCommand::Curl(args) } => import::curl(&args),
        Command::Export { command } => export::export(command),
        Command::Schema { file } => editor::schema(file),
        Command::Completions { shell } => editor::completions(shell),
        Command::Man { folder } => editor::man(&folder),
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

/// The configuration of a command that needs one, and what is to be said of it.
fn open_config(arg: &ConfigArg) -> Result<(Config, Vec<Diagnostic>), Exit> {
    let Some(path) = config::find(arg.config.as_deref()) else {
        say(&format!("error: {NO_CONFIG}"));
        return Err(Exit::Usage);
    };
    // What other parts of the configuration lack does not matter to these commands.
    let loaded = load(&disk_request(Some(path), Gravity::Warning)).map_err(|error| tell_load_error(&error))?;
    match loaded.config {
        Some(config) => Ok((config, loaded.findings)),
        None => {
            tell(&loaded.findings);
            Err(Exit::Usage)
        }
    }
}

/// Whether stderr is for machines.
static FOR_MACHINES: AtomicBool = AtomicBool::new(false);

/// Tells people on stderr, redacted like every sink; machines get it as a line of the log.
fn say(text: &str) {
    use std::io::Write as _;
    if FOR_MACHINES.load(Ordering::Relaxed) {
        match text.strip_prefix("error: ") {
            Some(problem) => tracing::error!(advice = "mend what it names", "{problem}"),
            None => tracing::warn!("{text}"),
        }
        return;
    }
    // Nobody is left to be told when this fails.
    let _ = writeln!(anstream::stderr(), "{}", crate::secret::redact_for_sinks(text));
}

/// Writes to stdout; a closed pipe or a full disk is the caller's to handle, not a panic.
fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as `head` has.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A command's result, and what comes of writing it.
fn out(text: &str) -> Exit {
    match print(text) {
        Ok(()) => Exit::Fine,
        Err(error) => own_fault(&error.to_string()),
    }
}

fn own_fault(text: &str) -> Exit {
    say(&format!("error: {text}"));
    Exit::OwnFault
}

fn tell(findings: &[Diagnostic]) {
    if FOR_MACHINES.load(Ordering::Relaxed) {
        for finding in findings {
            let text = render_all(std::slice::from_ref(finding), false);
            // Without the sum at its end.
            let text = text.trim_end().rsplit_once("\n\n").map_or(text.trim_end(), |(first, _)| first);
            match finding.gravity {
                Gravity::Error => tracing::error!(advice = "mend what it names", "{text}"),
                Gravity::Warning => tracing::warn!("{text}"),
            }
        }
    } else if !findings.is_empty() {
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
fn disk_request(config: Option<PathBuf>, unset: Gravity) -> Request {
    Request {
        files: Files::disk(),
        env: environment(),
        config,
        select: None,
        unset,
        overrides: BTreeMap::new(),
        base_url: None,
        every: None,
    }
}

/// Adds the variables of a `.env` file. What is set already wins, as with other tools' files of this kind.
fn add_env_file(request: &mut Request, path: Option<&Path>) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    for (name, value) in read_env_file(path, &request.files)? {
        request.env.entry(name).or_insert(value);
    }
    Ok(())
}

/// `NAME=value` lines, as `.env` files have them. Values never show up in an error.
fn read_env_file(path: &Path, files: &Files) -> Result<Vec<(String, String)>, String> {
    let shown = path.display();
    let text = files.read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut values = Vec::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok(pair) => values.push(pair),
            Err(dotenvy::Error::LineParse(line, _)) => {
                let number = text.lines().position(|l| l.trim() == line.trim()).map_or(0, |i| i + 1);
                return Err(format!("{shown}:{number}: expected NAME=value; values with spaces or `#` need quotes"));
            }
            Err(_) => return Err(format!("{shown} cannot be understood: expected lines of NAME=value")),
        }
    }
    Ok(values)
}

/// For the figures in `benches/`.
pub(crate) fn bench_request(path: &std::path::Path) -> Request {
    disk_request(Some(path.to_owned()), Gravity::Error)
}

/// A store in a folder that goes away with the process.
fn temporary_store(keep: crate::store::Keep) -> Result<(tempfile::TempDir, (Store, Restored)), String> {
    let dir =
        tempfile::Builder::new().prefix("journeyd-").tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let settings = StoreSettings { dir: dir.path().join("data"), keep, samples: std::time::Duration::ZERO };
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
