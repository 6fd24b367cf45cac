use proptest::prelude::*;

use super::*;
use crate::ids::{JourneyId, StepId};
use crate::journey::model::Severity;
use crate::journey::rule::{FailWhen, Measure, Objective, Quorum, burn_windows};
use crate::report::{FailureFacts, Reason, StoredFailure};

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

const MINUTE: Duration = Duration::from_secs(60);

const fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn journey(name: &str) -> JourneyKey {
    JourneyKey { journey: JourneyId::new(name).unwrap(), variant: None }
}

fn key(rule: &str) -> AlertKey {
    AlertKey { journey: journey("a"), rule: RuleId::new(rule).unwrap() }
}

pub fn down(fail_after: u32, recover_after: u32) -> Rule {
    let rule = Rule::down(Severity::Critical).unwrap();
    Rule { fail_when: FailWhen::InARow(fail_after), recover_after, ..rule }
}

fn rule(id: &str, kind: RuleKind) -> Rule {
    let by_run = matches!(kind, RuleKind::Degraded | RuleKind::Challenged | RuleKind::Cleanup);
    let fail_when = FailWhen::InARow(if by_run { 2 } else { 0 });
    Rule { id: RuleId::new(id).unwrap(), kind, fail_when, flapping: false, ..down(2, 2) }
}

fn subject(rules: Vec<Rule>) -> Subject {
    let slo = Slo { objective: Some(0.99), window: Duration::from_secs(30 * 86_400), latency: Some(MINUTE) };
    Subject {
        key: journey("a"),
        rules,
        slo: Some(slo),
        schedule: Timetable::Every(MINUTE),
        timeout: Duration::from_secs(30),
    }
}

fn engine(rules: Vec<Rule>) -> Engine {
    let mut engine = Engine::default();
    engine.configure([subject(rules)], BTreeMap::new(), BTreeMap::new(), at(0));
    engine
}

/// A run that ended at `secs`.
fn seen(secs: i64, outcome: char, facts: &FailureFacts) -> Observation<'_> {
    use evaluate::Seen;
    Observation {
        at: at(secs),
        location: "fra",
        seen: match outcome {
            'f' => Seen::Failed,
            'c' => Seen::Challenged,
            'e' => Seen::Errored,
            _ => Seen::Passed,
        },
        duration: Duration::from_secs(if outcome == 's' { 90 } else { 1 }),
        degraded: outcome == 's',
        responses: 4,
        server_errors: u32::from(outcome == 'f') * 2,
        certificate: None,
        cleanup_failed: None,
        facts: (outcome == 'f').then_some(facts),
    }
}

/// Runs a minute apart, the first at minute 1; what changed at each, as `minute rule from to why`.
fn play(engine: &mut Engine, runs: &str) -> Vec<String> {
    let facts = facts("1");
    let mut out = Vec::new();
    for (minute, outcome) in (1..).zip(runs.chars()) {
        let now = at(minute * 60);
        let mut changes = engine.tick(now);
        if outcome != '-' {
            changes.extend(engine.observe(&journey("a"), &seen(minute * 60, outcome, &facts), now));
        }
        out.extend(changes.into_iter().map(|t| format!("{minute} {} {} {} {}", t.key.rule, t.from, t.to, t.why)));
    }
    out
}

#[test]
fn every_transition_of_down_has_its_reason() {
    for (rule, runs, want) in [
        (down(2, 2), "p", &[][..]),
        (down(2, 2), "fp", &["1 down inactive pending first_failure", "2 down pending inactive passed"]),
        (
            down(2, 2),
            "ffpfpp",
            &[
                "1 down inactive pending first_failure",
                "2 down pending firing fail_after_reached",
                "3 down firing recovering first_pass",
                "4 down recovering firing failed_again",
                "5 down firing recovering first_pass",
                "6 down recovering inactive recover_after_reached",
            ],
        ),
        (
            down(1, 1),
            "fp",
            &["1 down inactive firing fail_after_reached", "2 down firing inactive recover_after_reached"],
        ),
        // Errored and challenged runs neither fail nor pass.
        (down(2, 2), "fecf", &["1 down inactive pending first_failure", "4 down pending firing fail_after_reached"]),
        (
            Rule { fail_when: FailWhen::Of(2, 3), ..down(1, 1) },
            "fpf",
            &["1 down inactive pending first_failure", "3 down pending firing fail_after_reached"],
        ),
        (
            Rule { hold: MINUTE * 3, ..down(1, 1) },
            "fff-",
            &["1 down inactive pending first_failure", "4 down pending firing fail_after_reached"],
        ),
        (
            Rule { keep_firing_for: MINUTE * 2, ..down(1, 1) },
            "fppp",
            &[
                "1 down inactive firing fail_after_reached",
                "2 down firing recovering first_pass",
                "4 down recovering inactive recover_after_reached",
            ],
        ),
        (
            Rule { keep_firing_for: MINUTE * 5, ..down(1, 1) },
            "fpf",
            &[
                "1 down inactive firing fail_after_reached",
                "2 down firing recovering first_pass",
                "3 down recovering firing failed_again",
            ],
        ),
    ] {
        let mut engine = engine(vec![Rule { flapping: false, ..rule.clone() }]);
        assert_eq!(play(&mut engine, runs), want, "{runs}");
    }
}

#[test]
fn flapping_is_told_once_and_lies_over_the_states() {
    let mut engine = engine(vec![down(2, 2)]);
    let story = play(&mut engine, "fpfpfpfppppppppppppppppppppppppp");
    let flapping: Vec<&String> = story.iter().filter(|line| line.contains("flapping")).collect();
    assert_eq!(flapping.len(), 2, "{story:?}");
    assert!(flapping[0].ends_with("flapping_started") && flapping[1].ends_with("inactive inactive flapping_ended"));
}

#[test]
fn further_rules_fire_and_resolve_each_by_its_own_reason() {
    let window = MINUTE * 5;
    for (kind, runs, want) in [
        (
            RuleKind::Degraded,
            "ssp-pp",
            &[
                "1 x inactive pending first_failure",
                "2 x pending firing fail_after_reached",
                "3 x firing recovering first_pass",
                "5 x recovering inactive recover_after_reached",
            ][..],
        ),
        (
            RuleKind::Challenged,
            "cc-pp",
            &[
                "1 x inactive pending first_failure",
                "2 x pending firing fail_after_reached",
                "4 x firing recovering first_pass",
                "5 x recovering inactive recover_after_reached",
            ],
        ),
        // 2 of 4 responses of a failed run are 5xx.
        (
            RuleKind::ErrorRate { over: 0.2, window, min_runs: 3 },
            "ppfffppppp",
            &["4 x inactive firing condition_held", "8 x firing inactive condition_ended"],
        ),
        (
            RuleKind::Latency { measure: Measure::Percentile(90.0), over: MINUTE, window, min_runs: 3 },
            "pspsppppppp",
            &["3 x inactive firing condition_held", "9 x firing inactive condition_ended"],
        ),
        // Silence changes nothing that a window said.
        (
            RuleKind::Latency { measure: Measure::Mean, over: MINUTE, window, min_runs: 3 },
            "sss----------",
            &["3 x inactive firing condition_held"],
        ),
        (
            RuleKind::NoData { after: None },
            "p---p",
            &["4 x inactive firing condition_held", "5 x firing inactive condition_ended"],
        ),
        // Errored runs are no data.
        (
            RuleKind::NoData { after: Some(MINUTE * 2) },
            "peep",
            &["3 x inactive firing condition_held", "4 x firing inactive condition_ended"],
        ),
    ] {
        let mut engine = engine(vec![rule("x", kind.clone())]);
        assert_eq!(play(&mut engine, runs), want, "{kind:?}");
    }
}

#[test]
fn a_certificate_that_ends_soon_is_told_and_forgotten_once_it_is_renewed() {
    let mut engine = engine(vec![rule("x", RuleKind::CertExpiry { within: Duration::from_secs(10 * 86_400) })]);
    let facts = facts("1");
    let day = 86_400;
    let mut look = |now: i64, expires: Option<i64>| -> Vec<&'static str> {
        let observation = Observation {
            certificate: expires.map(|d| evaluate::Certificate { expires: at(d * day), host: "h".into() }),
            ..seen(now * day, 'p', &facts)
        };
        engine.observe(&journey("a"), &observation, at(now * day)).iter().map(|t| t.to.as_str()).collect()
    };
    assert!(look(1, Some(30)).is_empty());
    assert_eq!(look(20, Some(30)), ["firing"]);
    assert!(look(21, None).is_empty(), "a run without TLS says nothing of it");
    assert_eq!(look(22, Some(110)), ["inactive"]);
    assert_eq!(look(23, Some(25)), ["firing"]);
    // A run that failed early met only the other host: the old certificate is not renewed by that.
    let failed = Observation {
        certificate: Some(evaluate::Certificate { expires: at(110 * day), host: "other".into() }),
        ..seen(24 * day, 'f', &facts)
    };
    assert!(engine.observe(&journey("a"), &failed, at(24 * day)).is_empty());
    assert!(engine.get(&key("x")).unwrap().detail.starts_with("the certificate of h ends in 1 day,"));
}

#[test]
fn a_burning_budget_fires_only_with_enough_failures_in_both_windows() {
    let windows = burn_windows(true, Duration::from_secs(30 * 86_400), MINUTE);
    let burn = |min_failures| {
        let kind = RuleKind::BurnRate { objective: Objective::Availability, windows: windows.clone(), min_failures };
        engine(vec![Rule { severity: Severity::Critical, ..rule("x", kind) }])
    };
    let drive = |engine: &mut Engine, failed: &[i64], until: i64| -> Vec<String> {
        let mut out = Vec::new();
        for minute in 1..=until {
            let failed = u64::from(failed.contains(&minute));
            engine.count(&journey("a"), minute, Counts { runs: 1, failed, slow: 0 });
            out.extend(engine.tick(at(minute * 60)).into_iter().map(|t| format!("{minute} {}", t.to)));
        }
        out
    };
    // 1 % of budget: at 60 runs an hour, 14.4 % of an hour are nine failures.
    let bad: Vec<i64> = (300..312).collect();
    assert_eq!(drive(&mut burn(3), &bad, 400), ["308 firing", "315 inactive"]);
    // On an objective whose budget a single run exceeds, the floor holds it back.
    let mut strict = Engine::default();
    let kind = RuleKind::BurnRate { objective: Objective::Availability, windows: windows.clone(), min_failures: 3 };
    let slo = Slo { objective: Some(0.999), window: Duration::from_secs(30 * 86_400), latency: None };
    let strict_subject = Subject { slo: Some(slo), ..subject(vec![rule("x", kind)]) };
    strict.configure([strict_subject], BTreeMap::new(), BTreeMap::new(), at(0));
    assert!(drive(&mut strict, &[100, 500, 501], 560).is_empty(), "one failed run pages nobody, nor do two");
}

#[test]
fn locations_decide_by_quorum_and_only_those_with_fresh_data() {
    let facts = facts("1");
    let run = |engine: &mut Engine, secs: i64, location: &'static str, outcome: char| -> Option<State> {
        let observation = Observation { location, ..seen(secs, outcome, &facts) };
        engine.observe(&journey("a"), &observation, at(secs)).first().map(|t| t.to)
    };
    let mut e = engine(vec![Rule { flapping: false, ..down(1, 1) }]);
    assert_eq!(run(&mut e, 1, "fra", 'p'), None);
    assert_eq!(run(&mut e, 2, "nyc", 'p'), None);
    assert_eq!(run(&mut e, 3, "sin", 'p'), None);
    assert_eq!(run(&mut e, 61, "fra", 'f'), Some(State::Pending), "one of three is no majority");
    assert_eq!(run(&mut e, 62, "nyc", 'f'), Some(State::Firing));
    assert_eq!(run(&mut e, 121, "fra", 'p'), Some(State::Inactive));
    // nyc alone is left, as the others have not been heard of for long.
    assert_eq!(run(&mut e, 2000, "nyc", 'f'), Some(State::Firing));
    for (quorum, fires) in [(Quorum::Any, true), (Quorum::All, false), (Quorum::AtLeast(2), false)] {
        let mut e = engine(vec![Rule { quorum, flapping: false, ..down(1, 1) }]);
        run(&mut e, 1, "fra", 'p');
        run(&mut e, 2, "nyc", 'p');
        assert_eq!(run(&mut e, 61, "fra", 'f') == Some(State::Firing), fires, "{quorum:?}");
    }
}

#[test]
fn rules_that_stay_keep_their_state_and_those_that_go_end() {
    let mut engine = engine(vec![down(1, 2), rule("x", RuleKind::NoData { after: None })]);
    play(&mut engine, "f---------");
    let configure =
        |engine: &mut Engine, rules| engine.configure([subject(rules)], BTreeMap::new(), BTreeMap::new(), at(900));
    let gone = configure(&mut engine, vec![down(5, 1)]);
    let told: Vec<_> = gone.iter().map(|(t, _)| (t.key.rule.to_string(), t.why)).collect();
    assert_eq!(told, [("x".to_owned(), Why::Removed)]);
    assert_eq!(engine.get(&key("down")).unwrap().state, State::Firing);
    // The next run is judged by the new thresholds.
    let facts = facts("1");
    let after = engine.observe(&journey("a"), &seen(960, 'p', &facts), at(960));
    assert_eq!(after[0].why, Why::RecoverAfterReached);
    assert!(engine.observe(&journey("b"), &seen(960, 'f', &facts), at(960)).is_empty(), "nobody knows it");
}

/// What the rule says in one sentence, by looking at the whole history each time.
#[expect(clippy::cast_possible_truncation, reason = "sixty runs")]
fn naive(fail_after: u32, recover_after: u32, history: &[bool]) -> bool {
    let mut firing = false;
    for end in 1..=history.len() {
        let streak = |passed: bool| history[..end].iter().rev().take_while(|p| **p == passed).count() as u32;
        if !firing && streak(false) >= fail_after {
            firing = true;
        } else if firing && streak(true) >= recover_after {
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
        let mut engine = engine(vec![down(fail_after, recover_after)]);
        for (i, passed) in history.iter().enumerate() {
            let facts = facts("x");
            let before = engine.get(&key("down")).unwrap().clone();
            let secs = 60 + 60 * i as i64;
            let changes = engine.observe(&journey("a"), &seen(secs, if *passed { 'p' } else { 'f' }, &facts), at(secs));
            let after = engine.get(&key("down")).unwrap().clone();
            prop_assert_eq!(after.is_active(), naive(fail_after, recover_after, &history[..=i]));
            // A transition is told exactly when the state changes.
            let told = changes.iter().any(|t| t.from != t.to);
            prop_assert_eq!(told, before.state != after.state);
            // A restart between two runs changes nothing: what is not idle is kept, and idle is as good as new.
            let stored = engine.take_changes().into_iter().find(|(k, _)| *k == key("down")).and_then(|(_, alert)| alert);
            let text = stored.map(|alert| serde_json::to_string(&alert).unwrap());
            let back: Option<Alert> = text.map(|text| serde_json::from_str(&text).unwrap());
            if let Some(back) = back {
                prop_assert_eq!(&back, &after);
            } else {
                prop_assert!(after.is_idle());
            }
        }
    }
}
