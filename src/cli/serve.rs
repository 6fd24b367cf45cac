//! `journeyd serve`: the daemon.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::cli::{Exit, NO_CONFIG, ServeArgs, disk_request, own_fault, say, tell, tell_load_error};
use crate::config::{self, Config, LoadError, load};
use crate::diag::{Gravity, render_all};
use crate::runner::Runner;

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
    let mut in_force = config.listen;
    let app = App::start(&config, runner, listener, None).await;
    let plans: usize = config.journeys.iter().filter(|j| j.enabled).map(|j| j.plans.len()).sum();
    tracing::info!(config = %path.display(), journeys = config.journeys.len(), scheduled = plans, "ready. Metrics at http://{address}/metrics");
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond this machine, and nothing asks who is reading.");
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                let request = request();
                // A panic in there is a refused reload, not the end of the daemon.
                let load = move || load(&request).map(|loaded| {
                    let told = if loaded.findings.is_empty() { String::new() } else { render_all(&loaded.findings, false) };
                    (loaded.config, told)
                });
                let result = tokio::task::spawn_blocking(load).await;
                reload(&app, result.ok(), &mut in_force).await;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
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

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal, tokio::signal::unix::Signal);

fn signals() -> std::io::Result<Signals> {
    Ok((signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// All or nothing: with any error the old configuration goes on whole.
async fn reload(
    app: &App,
    result: Option<Result<(Option<Config>, String), LoadError>>,
    in_force: &mut std::net::SocketAddr,
) {
    let problem = match result {
        Some(Ok((Some(config), told))) => {
            if !told.is_empty() {
                tracing::warn!("the configuration has warnings:\n{told}");
            }
            if std::mem::replace(in_force, config.listen) != config.listen {
                tracing::warn!(listen = %config.listen, "server.listen changed; that takes a restart.");
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
