use proptest::prelude::*;

use super::*;
use crate::notify::message::tests::message;
use crate::notify::retry::Trouble;

const NAMESPACE: Uuid = Uuid::from_u128(7);

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_790_000_000 + secs)
}

fn id(text: &str) -> ReceiverId {
    ReceiverId::new(text).unwrap()
}

fn pace(wait: u64) -> Pace {
    Pace { group_wait: Duration::from_secs(wait), group_interval: Duration::from_secs(120) }
}

fn backlog(receivers: &[&str]) -> Backlog {
    let mut backlog = Backlog::new(NAMESPACE);
    backlog.configure(receivers.iter().map(|r| (id(r), Dialect::Webhook.into())).collect(), at(0));
    backlog
}

fn of(kind: Kind, because: Because, incident: u64, now: Timestamp) -> Message {
    Message { incident, at: now, ..message(kind, because) }
}

fn fire(backlog: &mut Backlog, incident: u64, to: &[&str], wait: u64, now: Timestamp) {
    let to = to.iter().map(|r| (id(r), pace(wait))).collect();
    backlog.fire(&of(Kind::Firing, Because::First, incident, now), 1, to, now);
}

fn resolve(backlog: &mut Backlog, incident: u64, sequence: u32, now: Timestamp) {
    backlog.resolve(&of(Kind::Resolved, Because::Recovered, incident, now), sequence, now);
}

fn answer(status: u16) -> End {
    End::Answer { status, retry_after: None, body: String::new() }
}

fn lost() -> End {
    End::Unknown { trouble: Trouble::Timeout, detail: "no answer within 15 s".into() }
}

/// Sends what is due and ends it at once; what went out, as receiver and reason.
fn go(backlog: &mut Backlog, end: &End, now: Timestamp) -> Vec<(String, &'static str)> {
    let sent = backlog.due(now);
    for sending in &sent {
        backlog.ended(&sending.receiver, &sending.id, end, now).unwrap();
    }
    sent.into_iter().map(|s| (s.receiver.to_string(), s.message.because.as_str())).collect()
}

fn a(because: &'static str) -> Vec<(String, &'static str)> {
    vec![("a".to_owned(), because)]
}

#[test]
fn a_fire_waits_for_its_group_and_its_resolve_goes_at_once() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 15, at(0));
    assert_eq!(b.next_wakeup(), Some(at(15)));
    assert_eq!(go(&mut b, &answer(200), at(14)), []);
    assert_eq!(go(&mut b, &answer(200), at(15)), a("first"));
    resolve(&mut b, 1, 2, at(20));
    assert_eq!(go(&mut b, &answer(200), at(20)), a("recovered"), "the group interval never delays a resolve");
    assert_eq!(b.next_wakeup(), None);
    assert!(b.rows.is_empty());
}

#[test]
fn an_outage_that_ends_untold_becomes_one_message() {
    type Before = (&'static str, fn(&mut Backlog));
    let cases: [Before; 4] = [
        ("within the group wait", |_| {}),
        ("refused for now", |b| {
            go(b, &answer(503), at(15));
        }),
        ("parked", |b| {
            go(b, &answer(404), at(15));
        }),
        ("expired", |b| {
            b.expire(at(15) + Duration::from_secs(3600));
        }),
    ];
    for (name, before) in cases {
        let mut b = backlog(&["a"]);
        fire(&mut b, 1, &["a"], 15, at(0));
        before(&mut b);
        resolve(&mut b, 1, 2, at(4000));
        assert_eq!(go(&mut b, &answer(200), at(4000)), a("was_down"), "{name}");
        assert_eq!(b.next_wakeup(), None, "{name}: nothing is left");
    }
}

#[test]
fn an_attempt_whose_end_is_unknown_counts_as_sent_and_keeps_its_place_and_id() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    let first = b.due(at(0)).remove(0);
    b.ended(&first.receiver, &first.id, &lost(), at(15));
    resolve(&mut b, 1, 2, at(16));
    // In order: the fire once more under its id, then a plain resolve.
    let again = b.due(at(60)).remove(0);
    assert_eq!((again.message.kind, &again.id), (Kind::Firing, &first.id));
    assert_eq!(b.due(at(60)).len(), 0, "one at a time");
    b.ended(&again.receiver, &again.id, &answer(200), at(61));
    assert_eq!(go(&mut b, &answer(200), at(61)), a("recovered"));
}

#[test]
fn a_restart_repeats_at_once_what_was_under_way_and_waits_on_for_what_was_not() {
    let mut b = backlog(&["a", "b", "c"]);
    fire(&mut b, 1, &["a", "b"], 0, at(0));
    fire(&mut b, 2, &["c"], 15, at(0));
    let sent = b.due(at(0));
    assert_eq!(sent.len(), 2);
    b.ended(&sent[1].receiver, &sent[1].id, &answer(503), at(1));
    let rows: Vec<Row> = b.rows.values().cloned().collect();

    let mut restarted = backlog(&["a", "b", "c"]);
    restarted.restore(rows, at(2));
    let again = restarted.due(at(2));
    let ids = |list: &[Sending]| list.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&sent));
    assert!(restarted.rows.values().find(|r| r.receiver == id("a")).unwrap().maybe_sent);
    assert!(!restarted.rows.values().find(|r| r.receiver == id("b")).unwrap().maybe_sent, "a 503 is an answer");
    assert_eq!(restarted.next_wakeup(), Some(at(15)));
}

#[test]
fn retries_follow_the_table_until_the_message_is_too_old() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    let mut now = at(0);
    let mut attempts = 0;
    while let Some(next) = b.next_wakeup() {
        now = next;
        if b.expire(now).is_empty() {
            attempts += go(&mut b, &answer(502), now).len();
        }
    }
    assert_eq!(now, at(3600));
    // 5 s, 15 s, 45 s, 2 m, then every 5 m within the hour: 16 attempts, a few more or less by jitter.
    assert!((14..=19).contains(&attempts), "{attempts}");
    assert_eq!(b.rows.values().next().unwrap().state, RowState::Expired);
}

#[test]
fn a_rate_limit_holds_the_whole_receiver() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    fire(&mut b, 2, &["a"], 0, at(0));
    go(&mut b, &End::Answer { status: 429, retry_after: Some("30".into()), body: String::new() }, at(0));
    assert_eq!(b.next_wakeup(), Some(at(30)));
    assert_eq!(go(&mut b, &answer(200), at(29)), []);
    assert_eq!(go(&mut b, &answer(200), at(30)), a("first"));
    assert_eq!(go(&mut b, &answer(200), at(30)), a("first"));
}

#[test]
fn a_receiver_that_hangs_on_one_incident_gets_the_others() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    go(&mut b, &answer(500), at(0));
    fire(&mut b, 2, &["a"], 0, at(1));
    let sent = b.due(at(1));
    assert_eq!(sent[0].message.incident, 2);
}

#[test]
fn news_joins_what_is_unsent_and_otherwise_waits_for_the_group_interval() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 15, at(0));
    let mut news = of(Kind::Updated, Because::StepJoined, 1, at(5));
    news.failed_runs = 9;
    b.update(&news, 2, at(5), true);
    let sent = b.due(at(15)).remove(0);
    assert_eq!((sent.message.kind, sent.message.failed_runs), (Kind::Firing, 9));
    b.ended(&sent.receiver, &sent.id, &answer(200), at(16));
    b.update(&news, 3, at(30), true);
    news.failed_runs = 12;
    b.update(&news, 4, at(40), true);
    assert_eq!(b.next_wakeup(), Some(at(16 + 120)));
    let sent = b.due(at(136)).remove(0);
    assert_eq!((sent.message.kind, sent.message.failed_runs), (Kind::Updated, 12), "two pieces of news, one message");
    b.ended(&sent.receiver, &sent.id, &answer(200), at(136));
    assert_eq!(b.due(at(500)).len(), 0);
}

#[test]
fn a_clock_that_was_set_back_holds_up_nothing() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 15, at(7200));
    assert_eq!(go(&mut b, &answer(503), at(0)), a("first"));
    assert_eq!(go(&mut b, &answer(503), at(1)), [], "and hammers nobody");
    assert_eq!(go(&mut b, &answer(200), at(7)), a("first"));
}

#[test]
fn news_reach_whoever_knows_of_the_incident_and_nobody_else() {
    // Delivered, then one piece of news refused for good: the next is told all the same.
    let news = |now| of(Kind::Updated, Because::StepJoined, 1, now);
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    go(&mut b, &answer(200), at(0));
    b.update(&news(at(1)), 2, at(1), true);
    assert_eq!(go(&mut b, &answer(404), at(200)), a("step_joined"));
    b.update(&news(at(300)), 3, at(300), true);
    assert_eq!(go(&mut b, &answer(200), at(500)), a("step_joined"));
    // The fire is under way while news come, and is refused: nobody is told STILL FIRING out of the blue.
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    let sent = b.due(at(0)).remove(0);
    b.update(&news(at(1)), 2, at(1), true);
    b.ended(&sent.receiver, &sent.id, &answer(404), at(2));
    assert_eq!(go(&mut b, &answer(200), at(500)), []);
    resolve(&mut b, 1, 3, at(600));
    assert_eq!(go(&mut b, &answer(200), at(600)), a("was_down"));
}

#[test]
fn a_receiver_and_its_journey_removed_together_leave_nothing_behind() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 15, at(0));
    b.take_changes();
    b.configure(BTreeMap::new(), at(1));
    resolve(&mut b, 1, 2, at(1));
    let changes = b.take_changes();
    assert_eq!(changes.iter().map(|r| r.state).collect::<Vec<_>>(), [RowState::Parked]);
}

#[test]
fn a_journey_removed_before_anybody_was_told_of_it_is_not_told_at_all() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 15, at(0));
    b.resolve(&of(Kind::Resolved, Because::Removed, 1, at(5)), 2, at(5));
    assert_eq!(b.take_changes().iter().map(|r| r.state).collect::<Vec<_>>(), [RowState::Replaced]);
    assert_eq!((b.next_wakeup(), b.rows.len()), (None, 0));
}

#[test]
fn an_attempt_cut_off_by_a_removed_receiver_counts_as_sent() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    b.due(at(0));
    b.configure(BTreeMap::new(), at(1));
    b.configure(BTreeMap::from([(id("a"), Dialect::Webhook.into())]), at(2));
    resolve(&mut b, 1, 2, at(3));
    assert_eq!(go(&mut b, &answer(200), at(3)), a("recovered"));
}

#[test]
fn an_answer_is_told_without_what_a_terminal_would_obey() {
    let end = End::Answer { status: 500, retry_after: None, body: "a\u{1b}[2J\u{202e}\nb".into() };
    assert_eq!(describe(&end), "HTTP 500: a[2J b");
}

#[test]
fn messages_to_a_receiver_that_is_gone_are_parked_and_the_others_go_on() {
    let mut b = backlog(&["a", "b"]);
    fire(&mut b, 1, &["a", "b"], 15, at(0));
    let parked = b.configure(BTreeMap::from([(id("a"), Dialect::Webhook.into())]), at(1));
    assert_eq!(parked.len(), 1);
    assert_eq!(go(&mut b, &answer(200), at(15)), a("first"));
    resolve(&mut b, 1, 2, at(30));
    assert_eq!(go(&mut b, &answer(200), at(30)), a("recovered"));
    assert!(b.rows.is_empty());
}

type Seen = (u32, Kind, Because);

/// What may happen to a backlog.
#[derive(Debug, Clone)]
enum Act {
    Fire(Vec<bool>),
    Update,
    Resolve,
    Send,
    End(u8),
    Restart,
    Pass(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => proptest::collection::vec(any::<bool>(), 2).prop_map(Act::Fire),
        1 => Just(Act::Update),
        2 => Just(Act::Resolve),
        4 => Just(Act::Send),
        4 => any::<u8>().prop_map(Act::End),
        1 => Just(Act::Restart),
        3 => (1u32..400).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 1..80)
}

proptest! {
    #[test]
    fn whatever_happens_messages_stay_in_order_and_every_incident_gets_its_last_word(acts in acts()) {
        let names = [id("a"), id("b")];
        let mut b = backlog(&["a", "b"]);
        let mut now = at(0);
        let mut open: Option<u64> = None;
        let (mut incidents, mut sequence) = (0, 1);
        let mut flying: Vec<Sending> = Vec::new();
        let mut arrived: BTreeMap<(ReceiverId, u64), Vec<Seen>> = BTreeMap::new();
        // A crash in the middle of an attempt: it may have arrived, and counts as if it had.
        let mut maybe: BTreeSet<(ReceiverId, u64)> = BTreeSet::new();
        let mut addressed: BTreeSet<(ReceiverId, u64)> = BTreeSet::new();
        let mut stored: BTreeMap<Key, Row> = BTreeMap::new();
        let drain = |acts: Vec<Act>| acts.into_iter().chain((0..400).flat_map(|i| {
            [if i == 0 { Act::Resolve } else { Act::Pass(60) }, Act::Send, Act::End(0), Act::Send, Act::End(0)]
        }));
        for act in drain(acts) {
            match act {
                Act::Fire(to) if open.is_none() => {
                    incidents += 1;
                    sequence = 1;
                    open = Some(incidents);
                    let to: Vec<_> = names.iter().zip(to).filter(|(_, yes)| *yes).map(|(n, _)| n.clone()).collect();
                    addressed.extend(to.iter().map(|r| (r.clone(), incidents)));
                    let to = to.into_iter().map(|r| (r, pace(15))).collect();
                    b.fire(&of(Kind::Firing, Because::First, incidents, now), 1, to, now);
                }
                Act::Update => if let Some(incident) = open {
                    sequence += 1;
                    b.update(&of(Kind::Updated, Because::StepJoined, incident, now), sequence, now, true);
                },
                Act::Resolve => if let Some(incident) = open.take() {
                    sequence += 1;
                    resolve(&mut b, incident, sequence, now);
                },
                Act::Send => flying.extend(b.due(now)),
                Act::End(how) => if let Some(sending) = flying.pop() {
                    let row = b.rows.values().find(|r| r.id == sending.id).cloned();
                    let end = match how % 8 { 6 => lost(), 5 => answer(503), 4 => answer(404), _ => answer(200) };
                    let has_it = matches!(how % 8, 0..=3 | 6 | 7);
                    if let (true, Some(row)) = (has_it, row) {
                        let seen = arrived.entry((row.receiver.clone(), row.incident)).or_default();
                        // A repeat has the id, and so the sequence, of what came last.
                        if seen.last().map(|s| s.0) != Some(row.sequence) {
                            seen.push((row.sequence, row.message.kind, row.message.because));
                        }
                    }
                    b.ended(&sending.receiver, &sending.id, &end, now);
                },
                Act::Restart => {
                    // Everything in flight is lost from sight; only what was committed is left.
                    maybe.extend(flying.drain(..).map(|s| (s.receiver, s.message.incident)));
                    let rows: Vec<Row> = stored.values().filter(|r| {
                        !r.state.is_final() || Some(r.incident) == open
                            || stored.values().any(|o| o.incident == r.incident && !o.state.is_final())
                    }).cloned().collect();
                    b = backlog(&["a", "b"]);
                    b.restore(rows, now);
                }
                Act::Pass(secs) => {
                    now = now + Duration::from_secs(u64::from(secs));
                    b.expire(now);
                }
                Act::Fire(_) => {}
            }
            for row in b.take_changes() {
                stored.insert(row.key(), row);
            }
            let busy: BTreeSet<_> = flying.iter().map(|s| s.receiver.clone()).collect();
            prop_assert!(busy.len() == flying.len(), "two at once to one receiver");
        }
        for ((receiver, incident), seen) in &arrived {
            let sequences: Vec<u32> = seen.iter().map(|s| s.0).collect();
            prop_assert!(sequences.is_sorted(), "{receiver} {incident}: {seen:?}");
            for (i, (_, kind, because)) in seen.iter().enumerate() {
                let first = i == 0;
                let may_know = !first || maybe.contains(&(receiver.clone(), *incident));
                match kind {
                    Kind::Firing => prop_assert!(first, "{seen:?}"),
                    Kind::Updated => prop_assert!(may_know, "{seen:?}"),
                    _ if *because == Because::WasDown => prop_assert!(first, "{seen:?}"),
                    _ => prop_assert!(may_know, "{seen:?}"),
                }
            }
        }
        // Every addressed receiver got a last word, unless it refused that one for good or it grew too old.
        for (receiver, incident) in addressed {
            let last = stored.values().filter(|r| r.receiver == receiver && r.incident == incident).max_by_key(|r| r.sequence).unwrap();
            prop_assert_eq!(last.message.kind, Kind::Resolved);
            prop_assert!(last.state.is_final(), "{last:?}");
        }
        prop_assert!(stored.values().all(|r| r.state.is_final()));
        let ids: BTreeSet<_> = stored.values().map(|r| r.id.clone()).collect();
        prop_assert_eq!(ids.len(), stored.len(), "no id twice");
    }
}

fn with(receivers: &[(&str, Post)]) -> Backlog {
    let mut backlog = Backlog::new(NAMESPACE);
    backlog.configure(receivers.iter().map(|(name, post)| (id(name), post.clone())).collect(), at(0));
    backlog
}

fn outage(kind: Kind, because: Because, incident: u64, now: Timestamp) -> Message {
    Message { incident, at: now, ..crate::notify::message::tests::large(kind, because) }
}

/// Alertmanager tells incidents apart by a label: the end of one is told to the last, also when the next has begun.
#[test]
fn the_end_of_one_outage_is_told_beside_the_beginning_of_the_next() {
    let mut b = with(&[("am", Dialect::Alertmanager.into())]);
    let to = || vec![(id("am"), pace(0))];
    b.fire(&outage(Kind::Firing, Because::First, 1, at(0)), 1, to(), at(0));
    assert_eq!(go(&mut b, &answer(200), at(0)).len(), 1);
    // The end does not arrive, and meanwhile it fails again.
    b.resolve(&outage(Kind::Resolved, Because::Recovered, 1, at(30)), 2, at(30));
    assert_eq!(go(&mut b, &answer(503), at(30)), [("am".to_owned(), "recovered")]);
    b.fire(&outage(Kind::Firing, Because::First, 2, at(31)), 1, to(), at(31));
    let told: Vec<(u64, &str)> = (31..1500)
        .step_by(10)
        .flat_map(|s| {
            let sent = b.due(at(s));
            let told: Vec<(u64, &str)> =
                sent.iter().map(|one| (one.message.incident, one.message.because.as_str())).collect();
            sent.iter().for_each(|one| drop(b.ended(&one.receiver, &one.id, &answer(200), at(s))));
            told
        })
        .collect();
    assert!(told.contains(&(1, "recovered")) && told.contains(&(2, "first")), "{told:?}");
    assert_eq!(told.last(), Some(&(2, "first")), "an end is told for a while, what fires goes on: {told:?}");
}

#[test]
fn what_is_only_told_again_waits_for_nothing_until_that_fails() {
    let mut b = with(&[("am", Dialect::Alertmanager.into())]);
    b.fire(&outage(Kind::Firing, Because::First, 1, at(0)), 1, vec![(id("am"), pace(0))], at(0));
    assert_eq!(b.queue_lengths()[&id("am")], 1);
    assert_eq!(go(&mut b, &answer(200), at(0)).len(), 1);
    assert_eq!(b.queue_lengths()[&id("am")], 0, "delivered");
    assert_eq!(go(&mut b, &answer(503), at(60)).len(), 1);
    assert_eq!(b.queue_lengths()[&id("am")], 1, "told again, and not taken");
}

#[test]
fn who_was_never_reached_is_told_at_the_next_occasion() {
    let mut b = backlog(&["a"]);
    fire(&mut b, 1, &["a"], 0, at(0));
    assert_eq!(go(&mut b, &answer(404), at(0)), a("first"));
    let reminder = of(Kind::Reminder, Because::StillFiring, 1, at(3600));
    assert!(b.update(&reminder, 2, at(3600), true));
    let sent = b.due(at(3600));
    assert_eq!((sent.len(), sent[0].message.kind), (1, Kind::Firing), "as if for the first time");
}

#[test]
fn a_digest_that_is_refused_takes_back_what_it_stood_for() {
    let post = Post { budget: Some(1), ..Dialect::Mattermost.into() };
    let mut b = with(&[("chat", post)]);
    for incident in 1..=3 {
        b.fire(&of(Kind::Firing, Because::First, incident, at(0)), 1, vec![(id("chat"), pace(0))], at(0));
    }
    assert_eq!(go(&mut b, &answer(200), at(0)).len(), 1, "one is within the budget");
    let digest = b.due(at(1));
    assert_eq!((digest[0].message.kind, digest[0].message.counted), (Kind::Digest, 2));
    // An end does not overtake the digest that its beginning is in.
    resolve(&mut b, 2, 2, at(2));
    assert!(b.due(at(2)).is_empty());
    b.ended(&id("chat"), &digest[0].id, &answer(403), at(3)).unwrap();
    let rows: Vec<(u64, RowState)> = b.rows.values().map(|row| (row.incident, row.state)).collect();
    assert!(rows.contains(&(3, RowState::Parked)), "{rows:?}");
    let end = b.rows.values().find(|row| row.incident == 2 && row.message.kind == Kind::Resolved).unwrap();
    assert_eq!(end.message.because, Because::WasDown);
}

#[test]
fn two_that_stand_in_for_each_other_end() {
    let to = |name: &str| Post { fallback: Some(id(name)), budget: Some(0), ..Dialect::Mattermost.into() };
    let mut b = with(&[("a", to("b")), ("b", to("a"))]);
    fire(&mut b, 1, &["a"], 0, at(0));
    let sent: usize = (0..200).map(|s| go(&mut b, &answer(403), at(s)).len()).sum();
    assert!(sent <= 4, "{sent}");
}
