//! Talking to systemd (`Type=notify`): ready, reloading, stopping, and the watchdog. Without systemd all of it does
//! nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Scheduler, pipeline and writer show that they live every few seconds at most; this long without is a standstill.
const STANDSTILL: Duration = Duration::from_secs(15);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told; check NotifyAccess= of the unit.");
    }
}

pub fn ready(journeys: usize) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("{journeys} journeys"))]);
}

pub fn reloading() {
    // systemd 253 and newer wait for ever without the time.
    if let Ok(at) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, at]);
    }
}

pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Pings systemd's watchdog, if there is one, while `silence` (how long the longest silent part has been silent) is
/// short. A thread of its own: inside the runtime it would prove only that the runtime lives.
pub fn watch(silence: impl Fn() -> Duration + Send + 'static) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let ping = move || {
        loop {
            let silent = silence();
            if silent < STANDSTILL.max(interval) {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!(
                    seconds = silent.as_secs(),
                    "scheduler, pipeline or store stands still; the watchdog is not pinged. Check the disk and the load of this machine."
                );
            }
            std::thread::sleep(interval / 2);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("watchdog".into()).spawn(ping) {
        tracing::error!(%error, "no thread for the watchdog; systemd will restart this daemon. Raise TasksMax= or LimitNPROC=.");
    }
}
