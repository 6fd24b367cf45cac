//! What is left of each objective's error budget. Pure.

use crate::clock::Timestamp;
use crate::ids::JourneyKey;
use crate::incident::Incident;
use crate::journey::rule::Objective;
use crate::metrics::SloSeries;
use crate::notify::message::SloCost;
use crate::pipeline::judge::{Judge, Verdict};
use crate::slo::{BURN_WINDOWS, budget_remaining, burn_rate};
use crate::timetable::Timetable;

impl Judge {
    /// Windows move on also without runs.
    pub fn refresh_objectives(&mut self, now: Timestamp, verdict: &mut Verdict) {
        let keys: Vec<JourneyKey> = self.engine.objectives().cloned().collect();
        for key in keys {
            self.objectives_of(&key, now, verdict);
        }
    }

    pub(super) fn objectives_of(&mut self, key: &JourneyKey, now: Timestamp, verdict: &mut Verdict) {
        let Some((slo, window)) = self.engine.objective(key) else { return };
        let Some(ratio) = slo.objective else { return };
        window.forget(slo.window, now);
        let sum = window.sum(slo.window, now);
        let objectives = [Some(Objective::Availability), slo.latency.map(|_| Objective::Latency)];
        for objective in objectives.into_iter().flatten() {
            let (bad, total) = sum.of_objective(objective);
            let burn = BURN_WINDOWS.map(|length| {
                let (bad, total) = window.sum(length, now).of_objective(objective);
                burn_rate(ratio, bad, total).filter(|_| length <= slo.window)
            });
            let remaining = budget_remaining(ratio, bad, total);
            let series = SloSeries { ratio, window: slo.window, remaining, burn, bad, total };
            verdict.slos.push(((key.clone(), objective.as_str()), series));
        }
    }

    /// What an outage means for the budget of the journey that opened it. The budget is that of a whole window at the
    /// journey's schedule, so that it means the same on the first day as on the thirtieth.
    #[expect(clippy::cast_precision_loss, reason = "counts of runs are far below 2^53")]
    pub(super) fn cost_of(&self, incident: &Incident, key: &JourneyKey, now: Timestamp) -> Option<SloCost> {
        let (slo, window) = self.engine.objective_of(key)?;
        let ratio = slo.objective?;
        let sum = window.sum(slo.window, now);
        let scheduled = match &self.journeys.get(key)?.schedule {
            Timetable::Every(interval) => slo.window.as_secs_f64() / interval.as_secs_f64(),
            Timetable::Cron(_) => 0.0,
        };
        let budget = scheduled.max(sum.runs as f64) * (1.0 - ratio);
        let failed =
            f64::from(incident.members.iter().filter(|m| m.alert.journey == *key).map(|m| m.failed_runs).max()?);
        (budget > 0.0 && failed > 0.0).then(|| SloCost {
            slo: Objective::Availability.as_str().to_owned(),
            // A percentage is written with at most a few digits.
            objective: (ratio * 1e8).round() / 1e6,
            window: slo.window,
            cost: failed / budget,
            // What is left is told once there is about as much history as the window is long; before, the share of the
            // few runs so far would say something else than this.
            remaining: (sum.runs as f64 >= scheduled * 0.9)
                .then(|| budget_remaining(ratio, sum.failed, sum.runs))
                .flatten(),
        })
    }
}
