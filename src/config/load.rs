//! Loading: from a configuration file or from journey files alone, to a [`Config`] or to all mistakes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::alert::longest_look;
use crate::config::fields::{self, config, limits, metrics, server, store};
use crate::config::files::{Files, fixed_folder, folder, normalise};
use crate::config::library::FolderLibrary;
use crate::config::notify;
use crate::config::plan::version_of;
use crate::config::routes::{check_routes, routes};
use crate::config::secrets::{self, Secrets};
use crate::config::{Config, Heartbeat, access, quiet};
use crate::diag::{Diagnostic, Findings, Gravity, Place, SourceFile};
use crate::document::{Source, TableReader};
use crate::ids::{ID_RULE, JourneyId};
use crate::journey::Journey;
use crate::journey::link::{World, link};
use crate::journey::model::SLO_WINDOW;
use crate::journey::parse::parse_journey;
use crate::journey::parse_settings::{Settings, parse_defaults};
use crate::metrics::{MetricsSettings, series_besides, series_of};
use crate::mute::Maintenance;
use crate::notify::NotifySettings;
use crate::runner::{RunnerSettings, shell_word};
use crate::schedule::agenda::Limits;
use crate::secret::Redactor;
use crate::store::{Keep, StoreSettings};
use crate::web::access::Access;

/// Bodies above this do not fit a monitor that runs many journeys at once.
const MOST_BODY: u64 = 64 << 20;
const KEEP_RUNS: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_SIZE: u64 = 2_000_000_000;

/// What to load and how.
pub struct Request {
    pub files: Files,
    pub env: BTreeMap<String, String>,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// These journeys, by id or path, instead of all that the configuration names.
    pub select: Option<Vec<String>>,
    /// How grave an unset secret or variable is.
    pub unset: Gravity,
    pub overrides: BTreeMap<String, String>,
    pub base_url: Option<String>,
    /// `demo` runs everything this often.
    pub every: Option<Duration>,
}

/// The outcome: a configuration unless there are errors, and everything there is to say.
pub struct Loaded {
    pub config: Option<Config>,
    pub findings: Vec<Diagnostic>,
}

/// What was asked for by name is not there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("there is no journey `{name}`{hint}")]
    UnknownJourney { name: String, hint: String },
}

struct Daemon {
    listen: SocketAddr,
    access: Access,
    limits: Limits,
    max_body: u64,
    metrics: MetricsSettings,
    location: String,
    defaults: Settings,
    secrets: Secrets,
    notify: NotifySettings,
    maintenance: Vec<Maintenance>,
    heartbeat: Option<Heartbeat>,
    control: Vec<String>,
    store: StoreSettings,
    /// A journey's file, and the folder that its fragments must stay in.
    journeys: Vec<(PathBuf, PathBuf)>,
}

/// Loads everything. `Err` only when a file that was asked for by name cannot be read.
pub fn load(request: &Request) -> Result<Loaded, LoadError> {
    let findings = Findings::default();
    let mut config_file = None;
    let mut daemon = match &request.config {
        Some(path) => {
            let text = read(&request.files, path)?;
            let file = SourceFile::new(normalise(path).display().to_string(), text);
            config_file = Some(Arc::clone(&file));
            read_daemon(&file, path, request, &findings)
        }
        None => read_daemon(&SourceFile::new("", ""), Path::new(""), request, &findings),
    };
    if let Some(names) = &request.select {
        daemon.journeys = names.iter().map(|name| select(name, &daemon.journeys)).collect::<Result<_, _>>()?;
    }
    let journeys = load_journeys(request, &daemon, &findings)?;
    let besides = series_besides(daemon.notify.receivers.len());
    let needed = besides + series_of(&journeys, daemon.metrics);
    let told_in = config_file.clone();
    if let Some(file) = config_file.filter(|_| needed > daemon.metrics.max_series) {
        let place = file.text.find("max_series").map_or(0..0, |i| i..i + "max_series".len());
        findings.push(
            Diagnostic::error(Place { file, span: place }, format!("these journeys need about {needed} series"))
                .label(format!("metrics.max_series is {}", daemon.metrics.max_series))
                .help(if daemon.metrics.step_histograms {
                    let without = MetricsSettings { step_histograms: false, ..daemon.metrics };
                    format!(
                        "step_histograms = false under [metrics] would bring it to {}; or raise max_series",
                        besides + series_of(&journeys, without)
                    )
                } else {
                    "raise max_series, or run fewer journeys in one daemon".to_owned()
                }),
        );
    }
    if let Some(file) = &told_in {
        let whole = request.select.is_none() && !findings.has_errors();
        check_routes(&daemon.notify, &journeys, &daemon.location, file, whole)
            .into_iter()
            .for_each(|d| findings.push(d));
    }
    if request.select.is_none() {
        check_dependencies(&journeys, &findings);
    }
    let has_errors = findings.has_errors();
    let redactor = daemon.secrets.redactor(&daemon.notify);
    let windows = journeys.iter().filter_map(|j| j.slo).map(|slo| slo.window);
    daemon.store.keep.counts = windows.fold(SLO_WINDOW, Duration::max);
    daemon.store.samples =
        journeys.iter().flat_map(|j| &j.rules).map(|rule| longest_look(&rule.kind)).max().unwrap_or_default();
    let config = (!has_errors).then(|| Config {
        version: version_of(told_in.as_ref().map_or("", |file| &file.text), &journeys, daemon.metrics),
        listen: daemon.listen,
        access: daemon.access,
        limits: daemon.limits,
        metrics: daemon.metrics,
        journeys,
        runner: RunnerSettings {
            location: daemon.location,
            env: Arc::new(request.env.clone()),
            secrets: Arc::new(daemon.secrets.values),
            redactor,
            max_body: daemon.max_body,
        },
        told_path: request
            .config
            .as_ref()
            .map(|path| path.display().to_string())
            .filter(|path| matches!(request.files, Files::Disk(_)) && !super::FOUND.contains(&path.as_str()))
            .map(|path| shell_word(&path, &Redactor::default())),
        notify: daemon.notify,
        maintenance: daemon.maintenance,
        heartbeat: daemon.heartbeat,
        control: Arc::new(daemon.control),
        store: daemon.store,
    });
    Ok(Loaded { config, findings: findings.into_sorted() })
}

/// Journeys that others depend on must be there, and nobody can depend on himself by a detour.
fn check_dependencies(journeys: &[Arc<Journey>], findings: &Findings) {
    let of = |id: &JourneyId| journeys.iter().find(|j| j.id == *id);
    for journey in journeys {
        for (id, place) in &journey.telling.depends_on {
            let Some(other) = of(id) else {
                let near = crate::ids::nearest(id.as_str(), journeys.iter().map(|j| j.id.as_str()));
                let message = format!("there is no journey `{id}` to depend on");
                findings.push(
                    Diagnostic::error(place.clone(), message)
                        .label("not among the journeys of this configuration")
                        .help_if(near.map(|n| format!("did you mean `{n}`?"))),
                );
                continue;
            };
            let mut seen = vec![&journey.id];
            let mut queue = vec![other];
            while let Some(next) = queue.pop() {
                if next.id == journey.id {
                    let message = format!("`{}` and `{id}` depend on each other", journey.id);
                    findings.push(
                        Diagnostic::error(place.clone(), message).label("a circle").help(
                            "only one can explain the other: leave out the one that is nearer to the user's goal",
                        ),
                    );
                    break;
                }
                if !seen.contains(&&next.id) {
                    seen.push(&next.id);
                    queue.extend(next.telling.depends_on.iter().filter_map(|(id, _)| of(id)));
                }
            }
        }
    }
}

/// The file of a journey given by id or path, and the folder that its fragments must stay in.
fn select(name: &str, known: &[(PathBuf, PathBuf)]) -> Result<(PathBuf, PathBuf), LoadError> {
    let path = Path::new(name);
    if is_path(name) {
        let configured = known.iter().find(|(file, _)| normalise(file) == normalise(path));
        let root = configured.map_or_else(|| folder(path).to_owned(), |(_, root)| root.clone());
        return Ok((path.to_owned(), root));
    }
    let stem = |file: &PathBuf| file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(found) = known.iter().find(|(file, _)| stem(file) == name) {
        return Ok(found.clone());
    }
    let ids: Vec<String> = known.iter().map(|(file, _)| stem(file)).collect();
    let hint = match crate::ids::nearest(name, ids.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if ids.is_empty() => "; give a file's path, or a configuration with --config".to_owned(),
        None => format!("; there are: {}", ids.join(", ")),
    };
    Err(LoadError::UnknownJourney { name: name.to_owned(), hint })
}

/// Whether a JOURNEY argument is a file rather than an id.
pub fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

fn read(files: &Files, path: &Path) -> Result<String, LoadError> {
    files.read(path).map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })
}

fn read_daemon(file: &Arc<SourceFile>, path: &Path, request: &Request, findings: &Findings) -> Daemon {
    let source = Source { file: Arc::clone(file), findings };
    secrets::hide_hashes(file);
    let document = source.parse(&file.text);
    if findings.has_errors() {
        secrets::hide_section(file);
    }
    let table = source.open(document.get_ref(), 0..0, &config::TABLE);
    let base = folder(path);
    let secrets = match table.get(&config::SECRETS) {
        Some(node) => match node.get_ref().as_table() {
            Some(inner) => {
                secrets::read(&TableReader { source: source.clone(), table: inner, span: node.span() }, base, request)
            }
            None => {
                file.hide(&[node.span()]);
                source.wrong_type(node.span(), "`secrets`", "a table", node.get_ref());
                Secrets::default()
            }
        },
        None => Secrets::default(),
    };
    let (limits, max_body) = read_limits(&table);
    let receivers = table.get(&config::RECEIVERS).and_then(|node| {
        let inner = node.get_ref().as_table();
        if inner.is_none() {
            source.wrong_type(node.span(), "`receivers`", "a table of receivers", node.get_ref());
        }
        Some(TableReader { source: source.clone(), table: inner?, span: node.span() })
    });
    let names: Vec<String> =
        receivers.iter().flat_map(|t| t.table.iter().map(|(key, _)| key.get_ref().to_string())).collect();
    let mut notify = NotifySettings {
        unusable: Vec::new(),
        receivers: receivers.map(|t| notify::receivers(&t, &names, &secrets, request, base)).unwrap_or_default(),
        routes: routes(&table.tables(&config::ROUTES, &crate::config::fields::route::TABLE), &names),
    };
    notify.unusable = names.into_iter().filter(|name| !notify.receivers.keys().any(|id| id.as_str() == name)).collect();
    let metrics = table.open(&config::METRICS, &metrics::TABLE);
    let server = table.open(&config::SERVER, &server::TABLE);
    Daemon {
        maintenance: quiet::windows(&table.tables(&config::MAINTENANCE, &fields::maintenance::TABLE)),
        heartbeat: table
            .open(&config::HEARTBEAT, &fields::heartbeat::TABLE)
            .and_then(|t| quiet::heartbeat(&t, &secrets, request.unset)),
        control: table
            .open(&config::SELF_CHECK, &fields::self_check::TABLE)
            .map(|t| quiet::control(&t))
            .unwrap_or_default(),
        notify,
        store: read_store(&table, base, &request.env),
        listen: access::listen(server.as_ref()),
        access: access::access(server.as_ref(), &secrets, request, base),
        limits,
        max_body,
        metrics: MetricsSettings {
            step_histograms: metrics.as_ref().and_then(|t| t.boolean(&metrics::STEP_HISTOGRAMS)).unwrap_or(true),
            max_series: metrics
                .as_ref()
                .and_then(|t| t.integer(&metrics::MAX_SERIES, 1..=i64::MAX))
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(200_000),
        },
        location: table.id(&config::LOCATION).map_or_else(|| "local".to_owned(), |t| t.value),
        defaults: table.get(&config::DEFAULTS).map(|node| parse_defaults(&source, node)).unwrap_or_default(),
        secrets,
        journeys: find_journeys(&table, base, request, path),
    }
}

fn read_limits(table: &TableReader<'_, '_, '_>) -> (Limits, u64) {
    let limits = table.open(&config::LIMITS, &limits::TABLE);
    let count = |field: &'static crate::document::Field, default: usize| {
        limits
            .as_ref()
            .and_then(|t| t.integer(field, 1..=10_000))
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default)
    };
    let body = limits.as_ref().and_then(|t| t.size(&limits::BODY)).unwrap_or(4 << 20);
    if body > MOST_BODY
        && let Some(t) = &limits
    {
        t.source.push(t.source.error(t.key_span(&limits::BODY), "`body` is too large", "at most 64MiB"));
    }
    (Limits { concurrent_runs: count(&limits::CONCURRENT_RUNS, 64), per_host: count(&limits::PER_HOST, 8) }, body)
}

/// Where systemd or a container want state to be (`STATE_DIRECTORY`) unless an absolute path says otherwise; else where
/// the configuration says, else beside it.
fn read_store(table: &TableReader<'_, '_, '_>, base: &Path, env: &BTreeMap<String, String>) -> StoreSettings {
    let store = table.open(&config::STORE, &store::TABLE);
    let store = store.as_ref();
    let own = store.and_then(|t| t.string(&store::DIR)).map(PathBuf::from);
    let absolute = own.clone().filter(|dir| dir.is_absolute());
    let relative = own.map(|dir| normalise(&base.join(dir)));
    let of_systemd = env.get("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next()).filter(|dir| !dir.is_empty());
    let hour = Duration::from_secs(3600);
    StoreSettings {
        dir: absolute.or_else(|| of_systemd.map(PathBuf::from)).or(relative).unwrap_or_else(|| base.join("data")),
        keep: Keep {
            runs: store.and_then(|t| t.duration(&store::KEEP_RUNS, hour)).map_or(KEEP_RUNS, toml::Spanned::into_inner),
            counts: SLO_WINDOW,
            max_size: store.and_then(|t| read_max_size(t)).unwrap_or(MAX_SIZE),
        },
        samples: Duration::ZERO,
    }
}

fn read_max_size(table: &TableReader<'_, '_, '_>) -> Option<u64> {
    let size = table.size(&store::MAX_SIZE)?;
    if size < 16 << 20 {
        let span = table.key_span(&store::MAX_SIZE);
        table.source.push(table.source.error(span, "`max_size` is too small", "expected at least 16MiB"));
    }
    Some(size)
}

fn find_journeys(
    table: &TableReader<'_, '_, '_>,
    base: &Path,
    request: &Request,
    path: &Path,
) -> Vec<(PathBuf, PathBuf)> {
    let mut out: Vec<(PathBuf, PathBuf)> = Vec::new();
    let patterns = table.texts(&config::JOURNEYS).unwrap_or_default();
    if table.get(&config::JOURNEYS).is_none() && request.select.is_none() && !path.as_os_str().is_empty() {
        table.missing(
            &config::JOURNEYS,
            "the configuration",
            "for example journeys = [\"../journeys/*.toml\"], relative to this file",
        );
    }
    for text in patterns {
        let pattern = normalise(&base.join(&text.value));
        let found = request.files.matching(&pattern);
        let wild = text.value.contains(['*', '?', '[']);
        match found {
            Ok(paths) if paths.is_empty() && request.select.is_none() => {
                let place = table.source.place(text.span);
                table.source.push(if wild {
                    // Nothing to run is a question when checking and a refusal when running: a folder that is
                    // gone for a moment must not end all monitoring with a reload.
                    let mut nothing = Diagnostic::error(place, format!("no file matches {}", pattern.display()))
                        .label("nothing here");
                    nothing.gravity = request.unset;
                    nothing
                } else {
                    Diagnostic::error(place, format!("there is no file {}", pattern.display())).label("not found")
                });
            }
            Ok(paths) => {
                let root = fixed_folder(&pattern);
                for file in paths {
                    // `*.toml` beside the configuration means the journeys.
                    let is_config = wild && normalise(&file) == normalise(path);
                    if !is_config && !out.iter().any(|(known, _)| *known == file) {
                        out.push((file, root.clone()));
                    }
                }
            }
            Err(message) => table.source.push(table.source.error(text.span, "this pattern is not valid", message)),
        }
    }
    out
}

fn load_journeys(request: &Request, daemon: &Daemon, findings: &Findings) -> Result<Vec<Arc<Journey>>, LoadError> {
    let mut journeys: Vec<Arc<Journey>> = Vec::new();
    let mut libraries: HashMap<PathBuf, FolderLibrary<'_>> = HashMap::new();
    let mut defaults = daemon.defaults.clone();
    if let Some(every) = request.every {
        defaults.schedule = Some(crate::timetable::Timetable::Every(every));
    }
    let world = World {
        defaults: &defaults,
        env: &request.env,
        secrets: &daemon.secrets.known,
        unset: request.unset,
        overrides: &request.overrides,
        base_url: request.base_url.as_deref(),
    };
    let mut stems: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, root) in &daemon.journeys {
        let name = normalise(path);
        let text = match request.files.read(path) {
            Ok(text) => text,
            // ENFILE, EMFILE: the file is fine, this process is not.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => {
                return Err(LoadError::Unreadable { path: path.clone(), error });
            }
            Err(error) => {
                let place = Place { file: SourceFile::new(name.display().to_string(), ""), span: 0..0 };
                findings.push(Diagnostic::error(place, format!("cannot read {}: {error}", path.display())));
                continue;
            }
        };
        let file = SourceFile::new(name.display().to_string(), text);
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let place = || Place { file: Arc::clone(&file), span: 0..0 };
        let Some(id) = JourneyId::new(&stem) else {
            findings.push(
                Diagnostic::error(place(), format!("the file name `{stem}` is not a valid journey id"))
                    .help(format!("rename the file: {ID_RULE}")),
            );
            continue;
        };
        if id.as_str() == crate::ids::OWN_JOURNEY {
            findings.push(Diagnostic::error(place(), "no journey can be called `journeyd`").help(format!(
                "the alerts of journeyd itself are shown under that name; rename the file. To check a \
                         configuration: journeyd check --config {}",
                path.display()
            )));
            continue;
        }
        if let Some(first) = stems.insert(stem, path.clone()) {
            findings.push(
                Diagnostic::error(place(), format!("two journeys are called `{id}`"))
                    .help(format!("the other is {}", first.display())),
            );
            continue;
        }
        let real_root =
            request.files.real(root).map_err(|error| LoadError::Unreadable { path: root.clone(), error })?;
        let library = libraries.entry(real_root.clone()).or_insert_with(|| FolderLibrary {
            files: &request.files,
            root: real_root,
            known: RefCell::default(),
        });
        let parsed = parse_journey(&file, findings);
        if let Some(mut journey) = link(id, parsed, library, &world, findings) {
            if let Some(every) = request.every {
                journey.schedule = crate::timetable::Timetable::Every(every);
            }
            journeys.push(Arc::new(journey));
        }
    }
    Ok(journeys)
}
