//! Looks at each report before anybody else does: whether it says something of the target, or of this machine.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::clock::{Stopwatch, now};
use crate::doubt::{Doubt, LATE, is_about_time, is_transport};
use crate::report::{Fault, Outcome, RunReport, StepOutcome};
use crate::runner::resolver::Resolver;

/// What one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// An answer holds for this long.
const PROBE_LASTS: Duration = Duration::from_secs(10);
/// How often the loop's timers are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Shared by all runs.
#[derive(Clone)]
pub struct SelfCheck {
    shared: Arc<Shared>,
}

struct Shared {
    doubt: Mutex<Doubt>,
    resolver: Resolver,
    /// The last control probe; held while one is under way, so that there is one for all.
    probe: tokio::sync::Mutex<Option<(Stopwatch, bool)>>,
}

impl SelfCheck {
    pub(super) fn new(resolver: Resolver) -> Self {
        let shared = Shared { doubt: Mutex::default(), resolver, probe: tokio::sync::Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    fn doubt(&self) -> std::sync::MutexGuard<'_, Doubt> {
        self.shared.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until dropped: notices timers that come late.
    pub async fn watch_timers(self) {
        loop {
            let watch = Stopwatch::start();
            tokio::time::sleep(LOOK).await;
            let late = watch.elapsed().saturating_sub(LOOK);
            if late >= LATE {
                self.doubt().came_late(late, now());
            }
        }
    }

    /// The report as it may be believed. `targets`: what is reached when the network is there, as `host:port`;
    /// without any, a DNS resolver that answers.
    pub async fn examine(&self, mut report: RunReport, host: Option<&str>, targets: &[String]) -> RunReport {
        let exchanges = || report.steps.iter().chain(&report.cleanup).filter_map(|step| step.exchange.as_ref());
        if exchanges().any(|exchange| exchange.status.is_some()) {
            self.doubt().answered();
        }
        let Outcome::Failed(reason) = report.outcome else { return report };
        if is_about_time(reason)
            && let Some(late) = self.doubt().late_between(report.started_at, report.ended_at())
        {
            let late = late.as_secs_f64();
            blame(&mut report, Fault::Lag, &format!("timers of this machine came {late:.1} s late meanwhile"));
            return report;
        }
        if !is_transport(reason) {
            return report;
        }
        let failed = report
            .culprit()
            .and_then(|step| step.exchange.as_ref())
            .and_then(|exchange| url::Url::parse(&exchange.url).ok()?.host_str().map(str::to_owned));
        let host = failed.or_else(|| host.map(str::to_owned)).unwrap_or_else(|| report.key.to_string());
        let suspect = {
            let mut doubt = self.doubt();
            doubt.unreached(&host, now());
            doubt.is_suspect()
        };
        if suspect && !self.network_is_there(targets).await {
            let detail = "no host answers from here, and no control probe does";
            blame(&mut report, Fault::Network, detail);
        }
        report
    }

    async fn network_is_there(&self, targets: &[String]) -> bool {
        let mut known = self.shared.probe.lock().await;
        if let Some((at, there)) = *known
            && at.elapsed() < PROBE_LASTS
        {
            return there;
        }
        let there = if targets.is_empty() {
            // Without anything to compare with, nobody is acquitted.
            self.shared.resolver.answers().await.unwrap_or(true)
        } else {
            let reach = |target: String| async move {
                matches!(tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(target)).await, Ok(Ok(_)))
            };
            futures_util::future::join_all(targets.iter().cloned().map(reach)).await.contains(&true)
        };
        *known = Some((Stopwatch::start(), there));
        there
    }
}

/// The run says nothing of its target.
fn blame(report: &mut RunReport, fault: Fault, detail: &str) {
    report.outcome = Outcome::Errored(fault);
    for step in &mut report.steps {
        if let StepOutcome::Failed(failure) = &step.outcome {
            let detail = format!("{detail}; it had looked like {}: {}", failure.reason, failure.got);
            step.outcome = StepOutcome::Errored { fault, detail };
        }
    }
}
