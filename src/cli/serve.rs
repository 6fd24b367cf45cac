//! `journeyd serve`: the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, AppParts};
use crate::cli::{
    Exit, NO_CONFIG, ServeArgs, disk_request, own_fault, say, sender, service, tell, tell_load_error, temporary_store,
};
use crate::config::{self, Config, LoadError, load};
use crate::diag::{Gravity, render_all};
use crate::notify::outbox::Sender;
use crate::runner::Runner;
use crate::store::{Restored, Store};

/// What all cleanup shares at shutdown.
const CLEANUP: Duration = Duration::from_secs(10);

pub async fn serve(args: ServeArgs) -> Exit {
    let Some(path) = config::find(args.config.config.as_deref()) else {
        say(&format!("error: {NO_CONFIG}"));
        return Exit::Usage;
    };
    let request = || disk_request(Some(path.clone()), Gravity::Error);
    let loaded = match load(&request()) {
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
    let (_temporary, store, sender) = match parts(&config, args.dry_run, &runner) {
        Ok(parts) => parts,
        Err(error) => return own_fault(&error),
    };
    let mut in_force = InForce { listen: config.listen, store: config.store.dir.clone() };
    let app = App::start(&config, AppParts { runner, listener, store, sender, watcher: None }).await;
    let beats = app.beats();
    service::watch(move || beats.silence());
    service::ready(config.journeys.len());
    if config.notify.receivers.is_empty() {
        tracing::info!("no [receivers]: alerts show in the metrics and in this log, and nobody is told.");
    }
    let plans: usize = config.journeys.iter().filter(|j| j.enabled).map(|j| j.plans.len()).sum();
    tracing::info!(config = %path.display(), journeys = config.journeys.len(), scheduled = plans, "ready. Metrics at http://{address}/metrics");
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine, and nothing asks who is reading.");
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                service::reloading();
                let request = request();
                // A panic in there is a refused reload, not the end of the daemon.
                let load = move || load(&request).map(|loaded| {
                    let told = if loaded.findings.is_empty() { String::new() } else { render_all(&loaded.findings, false) };
                    (loaded.config, told)
                });
                let result = tokio::task::spawn_blocking(load).await;
                reload(&app, result.ok(), &mut in_force).await;
                service::reloaded();
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
    let store = Store::open(&config.store).map_err(|error| {
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

/// All or nothing: with any error the old configuration goes on whole.
async fn reload(app: &App, result: Option<Result<(Option<Config>, String), LoadError>>, in_force: &mut InForce) {
    let problem = match result {
        Some(Ok((Some(config), told))) => {
            if !told.is_empty() {
                tracing::warn!("the configuration has warnings:\n{told}");
            }
            if std::mem::replace(&mut in_force.listen, config.listen) != config.listen {
                tracing::warn!(listen = %config.listen, "server.listen changed; that takes a restart.");
            }
            if std::mem::replace(&mut in_force.store, config.store.dir.clone()) != config.store.dir {
                tracing::warn!(dir = %config.store.dir.display(), "store.dir changed; that takes a restart.");
            }
            app.reload(&config).await;
            tracing::info!(journeys = config.journeys.len(), "reloaded.");
            return;
        }
        Some(Ok((None, told))) => told,
        Some(Err(error)) => error.to_string(),
        None => "the loader panicked".to_owned(),
    };
    app.reload_failed();
    tracing::error!("the reload was refused and the old configuration goes on. Mend this and reload again:\n{problem}");
}
