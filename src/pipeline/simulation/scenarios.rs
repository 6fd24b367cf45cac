//! Outages as stories: what people are told, from the first failed run to the last word.

use crate::journey::rule::{FailWhen, Rule, RuleKind};

use super::*;
use crate::notify::route::{Pace, Route};

#[test]
fn stored_reports_played_again_tell_the_same_story() {
    let play = |seed: u64| {
        let mut dice = Dice(seed | 1);
        let mut now = Timestamp::from_secs(1_790_000_000);
        let (mut judge, _) = Judge::new(world(), Memory::default().restored(now), now);
        let mut story = Vec::new();
        for _ in 0..500 {
            now = now + Duration::from_secs(60);
            for name in NAMES {
                let outcome = if dice.one_in(3) { Outcome::Failed(Reason::Http5xx) } else { Outcome::Passed };
                let mut verdict = Verdict::default();
                judge.report(&report(name, now, &outcome, 1), now, &mut verdict);
                judge.tick(now, &mut verdict);
                story.extend(verdict.transitions.iter().map(|t| format!("{t:?}")));
                story.extend(verdict.writes.iter().filter_map(|w| match w {
                    Write::Incident(incident) => Some(format!("{incident:?}")),
                    _ => None,
                }));
            }
        }
        story
    };
    for seed in 1..10 {
        assert_eq!(play(seed), play(seed));
    }
}

#[test]
fn a_dead_host_with_two_hundred_journeys_is_one_message_and_one_resolve() {
    let mut settings = world();
    settings.journeys = (0..200).map(|n| journey(&format!("j{n}"), "shop", "")).collect();
    let hook = ReceiverId::new("hook").unwrap();
    settings.notify.receivers.retain(|id, _| *id == hook);
    let mut now = Timestamp::from_secs(1_790_000_000);
    let (mut judge, _) = Judge::new(settings, Memory::default().restored(now), now);
    let mut told = Vec::new();
    let start = now;
    while now < start + Duration::from_secs(1800) {
        now = now + Duration::from_millis(300);
        let since = now.since(start);
        let slot = since.as_millis() / 300 % 200;
        let dead = (Duration::from_secs(300)..Duration::from_secs(900)).contains(&since);
        let outcome = if dead { Outcome::Failed(Reason::ConnectRefused) } else { Outcome::Passed };
        let mut verdict = Verdict::default();
        judge.report(&report(&format!("j{slot}"), now, &outcome, 0), now, &mut verdict);
        judge.tick(now, &mut verdict);
        for sending in verdict.sending {
            let end = End::Answer { status: 200, retry_after: None, body: String::new() };
            judge.attempt_ended(&sending.receiver, &sending.id, &end, now, &mut Verdict::default());
            told.push((sending.message.kind, sending.message.alerts.len()));
        }
    }
    assert_eq!(told, [(Kind::Firing, 200), (Kind::Resolved, 200)]);
}

#[test]
fn who_depends_on_what_is_down_is_named_and_told_when_it_fails_on_its_own() {
    let mut settings = world();
    settings.journeys =
        vec![journey("login", "shop", ""), journey("checkout", "pay", "[alert]\ndepends_on = [\"login\"]\n")];
    let hook = ReceiverId::new("hook").unwrap();
    settings.notify.receivers.retain(|id, _| *id == hook);
    let mut now = Timestamp::from_secs(1_790_000_000);
    let (mut judge, _) = Judge::new(settings, Memory::default().restored(now), now);
    let mut told = Vec::new();
    // Minute by minute: login, checkout.
    for (login, checkout) in [
        ("f", "f"),
        ("f", "f"),
        ("f", "f"),
        ("f", "f"),
        // login heals; checkout turns out to be broken as well.
        ("p", "f"),
        ("p", "f"),
        ("p", "f"),
        ("p", "f"),
        ("p", "f"),
        ("p", "p"),
        ("p", "p"),
        ("p", "p"),
    ] {
        for (name, outcome) in [("login", login), ("checkout", checkout)] {
            let reason = if name == "login" { Reason::Http5xx } else { Reason::AssertionCss };
            let outcome = if outcome == "f" { Outcome::Failed(reason) } else { Outcome::Passed };
            let mut verdict = Verdict::default();
            judge.report(&report(name, now, &outcome, 0), now, &mut verdict);
            now = now + Duration::from_secs(30);
            judge.tick(now, &mut verdict);
            for sending in verdict.sending {
                let end = End::Answer { status: 200, retry_after: None, body: String::new() };
                judge.attempt_ended(&sending.receiver, &sending.id, &end, now, &mut Verdict::default());
                told.push(sending.message.headline());
            }
        }
    }
    assert_eq!(
        told,
        [
            "FIRING login and 1 more: step pay failed: http_5xx 503",
            "STILL FIRING checkout and 1 more: step pay failed: assertion_css",
            "RESOLVED login and 1 more: passes again after 10m 30s",
        ]
    );
}

#[test]
fn rules_of_the_simulated_world_are_what_their_files_say() {
    let world = world();
    let down = |name: &str| -> Rule {
        let journey = world.journeys.iter().find(|j| j.id.as_str() == name).unwrap();
        journey.rules.iter().find(|rule| rule.kind == RuleKind::Down).unwrap().clone()
    };
    assert_eq!(down("checkout").fail_when, FailWhen::Of(2, 3));
    assert_eq!(down("other").hold, Duration::from_secs(600));
    assert_eq!(down("search").recover_after, 1);
}

/// Plays runs minute by minute against one receiver that takes everything; what it was told.
fn play(settings: &JudgeSettings, minutes: &[&[(&str, Outcome)]], act: impl Fn(usize) -> Option<Act>) -> Vec<String> {
    let mut settings = settings.clone();
    let hook = ReceiverId::new("hook").unwrap();
    settings.notify.receivers.retain(|id, _| *id == hook);
    let mut now = Timestamp::from_secs(1_790_000_000);
    let (mut judge, _) = Judge::new(settings, Memory::default().restored(now), now);
    let mut told = Vec::new();
    for (minute, runs) in minutes.iter().enumerate() {
        let mut verdict = Verdict::default();
        if let Some(act) = act(minute) {
            judge.act(act, now, &mut verdict).unwrap();
        }
        for (name, outcome) in *runs {
            judge.report(&report(name, now, outcome, if *name == "slow" { 5 } else { 0 }), now, &mut verdict);
        }
        // Two looks a minute: what is decided, and what is due by then.
        for _ in 0..2 {
            now = now + Duration::from_secs(30);
            judge.tick(now, &mut verdict);
            for sending in std::mem::take(&mut verdict.sending) {
                let end = End::Answer { status: 200, retry_after: None, body: String::new() };
                judge.attempt_ended(&sending.receiver, &sending.id, &end, now, &mut Verdict::default());
                told.push(format!("{} {}", sending.message.incident, sending.message.headline()));
            }
        }
    }
    told
}

const PASSED: Outcome = Outcome::Passed;
const BROKEN: Outcome = Outcome::Failed(Reason::Http5xx);

#[test]
fn an_outage_does_not_hide_behind_a_warning_that_is_open_already() {
    let mut settings = world();
    let rules = "[[alerts]]\nid = \"late\"\nkind = \"latency\"\nover = \"3s\"\nwindow = \"1h\"\n";
    settings.journeys = vec![journey("slow", "shop", rules)];
    let good: &[(&str, Outcome)] = &[("slow", PASSED)];
    let bad: &[(&str, Outcome)] = &[("slow", BROKEN)];
    let told = play(&settings, &[good, good, good, good, bad, bad, bad, good, good, good], |_| None);
    assert_eq!(
        told,
        [
            "1 FIRING slow (late): p95 of passed runs was 5 s over 1h (limit 3 s)",
            "2 FIRING slow: step pay failed: http_5xx 503",
            "2 RESOLVED slow: passes again after 4m 5s",
        ]
    );
}

#[test]
fn one_that_flaps_among_the_dead_is_a_story_of_its_own() {
    let mut settings = world();
    settings.journeys = vec![journey("dead", "shop", ""), journey("jumpy", "shop", "")];
    let (up, down) = (("jumpy", PASSED), ("jumpy", BROKEN));
    let dead = ("dead", BROKEN);
    let mut minutes: Vec<Vec<(&str, Outcome)>> =
        (0..20).map(|n| vec![dead.clone(), if n % 3 == 2 { up.clone() } else { down.clone() }]).collect();
    // The dead one heals; the other goes on.
    minutes.extend((0..3).map(|n| vec![("dead", PASSED), if n % 2 == 0 { up.clone() } else { down.clone() }]));
    let minutes: Vec<&[(&str, Outcome)]> = minutes.iter().map(Vec::as_slice).collect();
    let told = play(&settings, &minutes, |_| None);
    assert!(told[0].starts_with("1 FIRING dead and 1 more"), "{told:#?}");
    assert!(told.iter().any(|line| line.starts_with("2 FLAPPING jumpy")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains("FLAPPING dead")), "{told:#?}");
    assert!(told.last().unwrap().starts_with("1 RESOLVED dead"), "{told:#?}");
}

#[test]
fn a_silence_within_the_group_wait_is_in_time() {
    let mut settings = world();
    settings.journeys = vec![journey("login", "shop", "")];
    let bad: &[(&str, Outcome)] = &[("login", BROKEN)];
    let good: &[(&str, Outcome)] = &[("login", PASSED)];
    let silence = |minute: usize| {
        let at = Timestamp::from_secs(1_790_000_000 + 60 * i64::try_from(minute).unwrap());
        (minute == 2).then(|| {
            Act::AddSilence(Box::new(Silence {
                id: "s".into(),
                matchers: vec![Matcher::parse("journey=login").unwrap()],
                author: "ann".into(),
                comment: "x".into(),
                created_at: at,
                starts_at: at,
                ends_at: at + Duration::from_secs(180),
            }))
        })
    };
    // The first message waits for two minutes.
    let pace = Pace { group_wait: Duration::from_secs(120), group_interval: Duration::from_secs(60) };
    let to = vec![ReceiverId::new("hook").unwrap()];
    settings.notify.routes = vec![Route { matches: Vec::new(), to, and_on: false, pace, escalate: Vec::new() }];
    let over = play(&settings, &[bad, bad, bad, good, good, good, good, good], silence);
    assert!(over.is_empty(), "what began and ended in quiet is nobody's business: {over:?}");
    let told = play(&settings, &[bad, bad, bad, bad, bad, bad, bad, bad, bad], silence);
    assert_eq!(told, ["1 FIRING login: step pay failed: http_5xx 503"], "and what still fires is told once");
}
