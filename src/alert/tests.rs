use proptest::prelude::*;

use super::*;
use crate::ids::{JourneyId, StepId};
use crate::report::{Reason, StoredFailure};

pub fn facts(run: &str) -> FailureFacts {
    FailureFacts {
        at: Timestamp::from_secs(100),
        step: StepId::new("pay").unwrap(),
        failure: StoredFailure {
            reason: Reason::Http5xx,
            kind: "http_5xx".into(),
            subject: "status".into(),
            expected: "status 2xx".into(),
            got: "503".into(),
            place: "checkout.toml:3:1".into(),
        },
        status: Some(503),
        method: "POST".into(),
        url: "http://h/pay".into(),
        run_id: run.into(),
        request_id: "r".into(),
        trace_id: "t".into(),
        response_ids: vec![],
        curl: None,
        passed: vec![],
        blocked: vec![],
    }
}

fn key(journey: &str) -> AlertKey {
    AlertKey {
        journey: JourneyKey { journey: JourneyId::new(journey).unwrap(), variant: None },
        rule: RuleId::new("down").unwrap(),
    }
}

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// `f` failed, `p` passed; after each: the state's letter, capital where it changed, and the reason.
#[test]
fn every_transition_has_its_reason() {
    use State::{Firing, Inactive, Pending, Recovering};
    let rule = |fail_after, recover_after| AlertSettings { fail_after, recover_after };
    type Row = (AlertSettings, &'static str, State, Option<(State, Why)>);
    // Rule, history of passed and failed runs, the state before the last of them, what the last one did.
    let table: &[Row] = &[
        (rule(2, 2), "p", Inactive, None),
        (rule(2, 2), "f", Inactive, Some((Pending, Why::FirstFailure))),
        (rule(2, 2), "fp", Pending, Some((Inactive, Why::Passed))),
        (rule(2, 2), "ff", Pending, Some((Firing, Why::FailAfterReached))),
        (rule(3, 2), "ff", Pending, None),
        (rule(3, 2), "fff", Pending, Some((Firing, Why::FailAfterReached))),
        (rule(3, 2), "ffpff", Pending, None),
        (rule(2, 2), "fff", Firing, None),
        (rule(2, 2), "ffp", Firing, Some((Recovering, Why::FirstPass))),
        (rule(2, 3), "ffpp", Recovering, None),
        (rule(2, 2), "ffpf", Recovering, Some((Firing, Why::FailedAgain))),
        (rule(2, 2), "ffpfp", Firing, Some((Recovering, Why::FirstPass))),
        (rule(2, 2), "ffpfpp", Recovering, Some((Inactive, Why::RecoverAfterReached))),
        (rule(2, 2), "ffppf", Inactive, Some((Pending, Why::FirstFailure))),
        (rule(1, 2), "f", Inactive, Some((Firing, Why::FailAfterReached))),
        (rule(1, 1), "fp", Firing, Some((Inactive, Why::RecoverAfterReached))),
    ];
    for (rule, history, before, want) in table {
        let mut alert = Alert::inactive(at(0));
        let mut last = None;
        let mut state = alert.state;
        for (i, run) in history.chars().enumerate() {
            state = alert.state;
            let facts = facts(&i.to_string());
            let judged = if run == 'f' { Judged::Failed(&facts) } else { Judged::Passed };
            last = step(*rule, &mut alert, judged, at(60 * (i as i64 + 1)));
        }
        assert_eq!(state, *before, "{rule:?} {history}");
        assert_eq!(last.map(|why| (alert.state, why)), *want, "{rule:?} {history}");
    }
}

#[test]
fn the_first_failure_of_the_outage_is_kept_and_forgotten_with_it() {
    let rule = AlertSettings { fail_after: 2, recover_after: 2 };
    let mut alert = Alert::inactive(at(0));
    for run in ["1", "2", "3"] {
        step(rule, &mut alert, Judged::Failed(&facts(run)), at(60));
    }
    assert_eq!(alert.first_failure.as_ref().unwrap().run_id, "1");
    assert_eq!(alert.failures, 3);
    step(rule, &mut alert, Judged::Passed, at(120));
    step(rule, &mut alert, Judged::Passed, at(180));
    assert_eq!(alert, Alert::inactive(at(180)));
}

#[test]
fn a_rule_that_goes_away_while_firing_is_told_and_one_that_stays_keeps_its_state() {
    let rule = AlertSettings { fail_after: 1, recover_after: 2 };
    let mut engine = Engine::default();
    engine.configure([(key("a"), rule), (key("b"), rule), (key("c"), rule)], BTreeMap::new(), at(0));
    for name in ["a", "b"] {
        let (transition, alert) =
            engine.observe(&key(name), Judged::Failed(&facts("1")), Some(at(50)), at(60)).unwrap();
        assert_eq!((transition.from, transition.to), (State::Inactive, State::Firing));
        assert_eq!(alert.last_good, Some(at(50)));
    }
    let gone =
        engine.configure([(key("a"), AlertSettings { fail_after: 5, recover_after: 1 })], BTreeMap::new(), at(90));
    let told: Vec<_> = gone.iter().map(|(t, _)| (t.key.clone(), t.from, t.to, t.why)).collect();
    assert_eq!(told, [(key("b"), State::Firing, State::Inactive, Why::Removed)]);
    // The one that stays is judged by the new thresholds from its next run on.
    let (transition, _) = engine.observe(&key("a"), Judged::Passed, None, at(120)).unwrap();
    assert_eq!(transition.why, Why::RecoverAfterReached);
    assert!(engine.observe(&key("b"), Judged::Passed, None, at(120)).is_none(), "it is gone");
}

/// What the rule says in one sentence, by looking at the whole history each time.
#[expect(clippy::cast_possible_truncation, reason = "sixty runs")]
fn naive(rule: AlertSettings, history: &[bool]) -> bool {
    let mut firing = false;
    for end in 1..=history.len() {
        let streak = |passed: bool| history[..end].iter().rev().take_while(|p| **p == passed).count() as u32;
        if !firing && streak(false) >= rule.fail_after {
            firing = true;
        } else if firing && streak(true) >= rule.recover_after {
            firing = false;
        }
    }
    firing
}

proptest! {
    #[test]
    fn the_engine_agrees_with_the_rule_read_naively(
        fail_after in 1u32..5,
        recover_after in 1u32..5,
        history in proptest::collection::vec(any::<bool>(), 0..60),
    ) {
        let rule = AlertSettings { fail_after, recover_after };
        let mut engine = Engine::default();
        engine.configure([(key("j"), rule)], BTreeMap::new(), at(0));
        for (i, passed) in history.iter().enumerate() {
            let facts = facts("x");
            let judged = if *passed { Judged::Passed } else { Judged::Failed(&facts) };
            let before = engine.get(&key("j")).unwrap().clone();
            let transition = engine.observe(&key("j"), judged, None, at(60 + i as i64)).map(|(t, _)| t);
            let after = engine.get(&key("j")).unwrap();
            let active = matches!(after.state, State::Firing | State::Recovering);
            prop_assert_eq!(active, naive(rule, &history[..=i]));
            // A transition is told exactly when the state changes.
            prop_assert_eq!(transition.is_some(), before.state != after.state);
            // A restart between two runs changes nothing: the state is a plain value.
            let stored: Alert = serde_json::from_str(&serde_json::to_string(after).unwrap()).unwrap();
            prop_assert_eq!(&stored, after);
        }
    }
}
