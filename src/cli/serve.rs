//! `journeyd serve`: the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::app::{App, AppParts, Writes};
use crate::cli::{
    Exit, NO_CONFIG, ServeArgs, disk_request, own_fault, say, sender, service, tell, tell_load_error, temporary_store,
};
use crate::config::files::{Files, Watched};
use crate::config::{self, Config, LoadError, Loaded, load};
use crate::diag::{Gravity, render_all};
use crate::notify::outbox::Sender;
use crate::runner::Runner;
use crate::secret::Secret;
use crate::store::{Restored, Store};
use crate::web::Reload;

/// How often `--watch` looks for changes, and how long one must have settled.
const LOOK: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(1);

/// What all cleanup shares at shutdown.
const CLEANUP: Duration = Duration::from_secs(10);

pub async fn serve(args: ServeArgs) -> Exit {
    let Some(path) = config::find(args.config.config.as_deref()) else {
        say(&format!("error: {NO_CONFIG}"));
        return Exit::Usage;
    };
    let (loaded, mut watched) = load_disk(&path);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return tell_load_error(&error),
    };
    tell(&loaded.findings);
    let Some(config) = loaded.config else { return Exit::Usage };
    let (mut hangup, mut terminate, mut interrupt) = match signals() {
        Ok(signals) => signals,
        Err(error) => return own_fault(&format!("cannot handle signals: {error}")),
    };
    let listen = args.listen.unwrap_or(config.listen);
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "Something else is using it; choose another with --listen or server.listen."
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "That is no address of this machine; 0.0.0.0 is every IPv4 interface."
                }
                std::io::ErrorKind::PermissionDenied => "Ports below 1024 take a privilege; choose a higher one.",
                _ => "Choose another with --listen or server.listen.",
            };
            return own_fault(&format!("cannot listen on {listen}: {error}\n{advice}"));
        }
    };
    let address = listener.local_addr().unwrap_or(listen);
    let runner = match Runner::new() {
        Ok(runner) => runner,
        Err(error) => return own_fault(&error.to_string()),
    };
    // Lives as long as this does.
    let (temporary, store, sender) = match parts(&config, args.dry_run, &runner) {
        Ok(parts) => parts,
        Err(error) => return own_fault(&error),
    };
    let mut in_force = InForce { listen: config.listen, store: config.store.dir.clone() };
    let (reloads, mut asked) = mpsc::channel(1);
    let state = temporary.as_ref().map_or(config.store.dir.as_path(), tempfile::TempDir::path);
    let token = match api_token(state) {
        Ok(token) => token,
        Err(error) => {
            tracing::error!(%error, dir = %state.display(), "cannot keep the API's token; nobody can change anything over the API until this is mended and journeyd restarted.");
            new_token()
        }
    };
    let writes = Some(Writes { token, reload: reloads });
    let app = App::start(&config, AppParts { runner, listener, store, sender, watcher: None, writes }).await;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.reset();
    let beats = app.beats();
    service::watch(move || beats.silence());
    service::ready(config.journeys.len());
    if config.notify.receivers.is_empty() {
        tracing::info!("no [receivers]: alerts show in the metrics and in this log, and nobody is told.");
    }
    let plans: usize = config.journeys.iter().filter(|j| j.enabled).map(|j| j.plans.len()).sum();
    tracing::info!(config = %path.display(), journeys = config.journeys.len(), scheduled = plans, "ready. Metrics at {}://{address}/metrics", config.scheme());
    if !address.ip().is_loopback() && config.access.auth.is_none() {
        tracing::warn!(%address, "listening beyond this machine, and nothing asks who is reading; server.auth does.");
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&app, &path, &mut watched, &mut in_force, None).await,
            Some(answer) = asked.recv() => reload(&app, &path, &mut watched, &mut in_force, Some(answer)).await,
            _ = look.tick(), if args.watch => {
                if settled_change(&watched).await {
                    tracing::info!("a file of the configuration has changed.");
                    reload(&app, &path, &mut watched, &mut in_force, None).await;
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            part = app.broken() => {
                tracing::error!(part, "a part that must not end has ended. This is a bug, please report it. Ending, so that whoever supervises this process starts a new one.");
                return Exit::OwnFault;
            }
        }
    }
    service::stopping();
    tracing::info!(
        "stopping: steps are cancelled, cleanup has {} s. A second signal stops at once.",
        CLEANUP.as_secs()
    );
    tokio::select! {
        () = app.stop(CLEANUP) => tracing::info!("stopped."),
        _ = terminate.recv() => tracing::warn!("stopped at once; check for left-over test data."),
        _ = interrupt.recv() => tracing::warn!("stopped at once; check for left-over test data."),
    }
    Exit::Fine
}

/// What a reload cannot change.
struct InForce {
    listen: SocketAddr,
    store: PathBuf,
}

type Opened = (Option<tempfile::TempDir>, (Store, Restored), Sender);

fn parts(config: &Config, dry_run: bool, runner: &Runner) -> Result<Opened, String> {
    if dry_run {
        let (dir, store) = temporary_store(config.store.keep)?;
        return Ok((Some(dir), store, Sender::dry()));
    }
    let opened = match Store::open(&config.store) {
        Err(error) if error.is_unwritable() => {
            tracing::error!(
                %error, dir = %config.store.dir.display(),
                "the store cannot be written. Monitoring and telling go on from memory: a restart forgets alerts, incidents and messages. Mend the folder and restart."
            );
            Store::in_memory()
        }
        opened => opened,
    };
    let store = opened.map_err(|error| {
        format!(
            "cannot open the store in {}: {error}\nThe folder is `dir` of [store]; it must be writable, on a local disk, \
             and this daemon's alone.",
            config.store.dir.display()
        )
    })?;
    Ok((None, store, sender(runner)?))
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal, tokio::signal::unix::Signal);

fn signals() -> std::io::Result<Signals> {
    Ok((signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// The configuration with everything that was read for it.
fn load_disk(path: &Path) -> (Result<Loaded, LoadError>, Watched) {
    let request = disk_request(Some(path.to_owned()), Gravity::Error);
    let loaded = load(&request);
    let watched = match request.files {
        Files::Disk(record) => record.into_watched(),
        Files::Embedded(_) => Watched::default(),
    };
    (loaded, watched)
}

/// Whether a file holds something else than when it was read, and has stopped changing: an editor or `kubectl` may be
/// half way through.
async fn settled_change(watched: &Watched) -> bool {
    let look = || {
        let watched = watched.clone();
        async move { tokio::task::spawn_blocking(move || watched.now()).await.ok() }
    };
    let Some(first) = look().await.filter(|now| now != watched) else { return false };
    tokio::time::sleep(SETTLE).await;
    look().await.is_some_and(|second| second == first)
}

/// The token that writes take: the store's, made by the first `serve`.
fn api_token(dir: &Path) -> std::io::Result<Secret> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let private = || std::fs::Permissions::from_mode(0o600);
    let path = dir.join("api-token");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => {
            if std::fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
                tracing::warn!(file = %path.display(), "others could read the API's token; its mode is 0600 again. Delete the file for a new one.");
                std::fs::set_permissions(&path, private())?;
            }
            return Ok(Secret::new(text.trim()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = new_token();
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.set_permissions(private())?;
    file.write_all(token.expose().as_bytes())?;
    file.sync_all()?;
    Ok(token)
}

fn new_token() -> Secret {
    Secret::new(&format!("{}{}", crate::entropy::uuid().simple(), crate::entropy::uuid().simple()))
}

/// All or nothing: with any error the old configuration goes on whole.
async fn reload(app: &App, path: &Path, watched: &mut Watched, in_force: &mut InForce, answer: Option<Reload>) {
    service::reloading();
    let path = path.to_owned();
    // A panic in there is a refused reload, not the end of the daemon.
    let loading = move || {
        let (loaded, watched) = load_disk(&path);
        let loaded = loaded.map(|loaded| {
            let told = if loaded.findings.is_empty() { String::new() } else { render_all(&loaded.findings, false) };
            (loaded.config, told)
        });
        (loaded, watched)
    };
    let result = tokio::task::spawn_blocking(loading).await;
    let problem = match result {
        Ok((loaded, now)) => {
            // What was refused is not tried again until it changes.
            *watched = now;
            match loaded {
                Ok((Some(config), told)) => {
                    let text = put_in_force(app, &config, &told, in_force).await;
                    if let Some(answer) = answer {
                        let _ = answer.send(Ok(text));
                    }
                    service::reloaded();
                    return;
                }
                Ok((None, told)) => told,
                Err(error) => error.to_string(),
            }
        }
        Err(_) => "the loader panicked".to_owned(),
    };
    let problem = crate::secret::redact_for_sinks(&problem);
    let summary = problem.trim_end().lines().last().unwrap_or_default();
    app.reload_failed(&format!("the last reload was refused and the configuration before it is in force: {summary}"));
    tracing::error!("the reload was refused and the old configuration goes on. Mend this and reload again:\n{problem}");
    if let Some(answer) = answer {
        let _ = answer.send(Err(format!("nothing was changed.\n{problem}")));
    }
    service::reloaded();
}

async fn put_in_force(app: &App, config: &Config, told: &str, in_force: &mut InForce) -> String {
    if !told.is_empty() {
        tracing::warn!("the configuration has warnings:\n{told}");
    }
    let mut text = format!("reloaded: {} journeys", config.journeys.len());
    if std::mem::replace(&mut in_force.listen, config.listen) != config.listen {
        tracing::warn!(listen = %config.listen, "server.listen changed; that takes a restart.");
        text.push_str("\nserver.listen changed; that takes a restart");
    }
    if std::mem::replace(&mut in_force.store, config.store.dir.clone()) != config.store.dir {
        tracing::warn!(dir = %config.store.dir.display(), "store.dir changed; that takes a restart.");
        text.push_str("\nstore.dir changed; that takes a restart");
    }
    app.reload(config).await;
    tracing::info!(journeys = config.journeys.len(), "reloaded.");
    text
}
