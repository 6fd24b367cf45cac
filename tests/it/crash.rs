//! `kill -9` at named places and at random moments, under load: nothing decided is lost, nothing is told under two
//! ids, no incident opens twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::support::process::{Running, journeyd};
use crate::support::sink::Sink;
use crate::support::target::Target;
use crate::support::{folder, sample};

const PLACES: [&str; 4] = ["before_commit", "after_commit", "after_post", "before_mark"];
/// Journeys that fail and recover with the target, and others that only make load.
const FLAKY: usize = 8;
/// Journeys of one host that fails as a whole.
const GROUPED: usize = 4;
const STEADY: usize = 40;

/// Plain and repeatable: which place, how long.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_anything() {
    let kills: u64 = std::env::var("JOURNEYD_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let (flaky, status) = Target::switchable().await;
    let (steady, _) = Target::switchable().await;
    let (grouped, host) = Target::switchable().await;
    let (sink, others) = (Sink::start().await, Sink::start().await);
    let dir = folder(
        &files(&flaky, &steady, &grouped, &sink, &others)
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect::<Vec<_>>(),
    );
    let mut dice = Dice(20_261_122);
    let mut died_at: BTreeMap<&str, u64> = BTreeMap::new();
    for kill in 0..kills {
        let place = PLACES.get(usize::try_from(dice.below(6)).unwrap()).copied();
        live_and_die(dir.path(), place, &mut dice, [(&status, 404), (&host, 503)], &mut died_at, kill).await;
    }
    for place in PLACES {
        assert!(died_at.get(place).is_some_and(|n| *n > 0), "never died {place}: {died_at:?}");
    }

    // Peace: everything recovers and everything is told.
    status.store(200, Ordering::SeqCst);
    host.store(200, Ordering::SeqCst);
    let mut daemon = Running::serve(dir.path(), &[]).await;
    daemon
        .until_metrics("everything resolved and told", |m| {
            sample(m, "journeyd_incidents_open{severity=\"critical\"}") == Some(0.0)
                && sample(m, "journeyd_notification_queue_length{receiver=\"ops\"}") == Some(0.0)
                && (0..FLAKY).all(|n| {
                    let up = format!("journeyd_journey_up{{journey=\"flaky-{n}\",variant=\"\",location=\"local\"}}");
                    sample(m, &up) == Some(1.0)
                })
        })
        .await;
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await, 0);
    check(dir.path(), &sink, kills);
}

/// Journeys that fail each for a reason of its own, with all rules on; some that fail together; some that never fail.
fn files(flaky: &Target, steady: &Target, grouped: &Target, sink: &Sink, others: &Sink) -> Vec<(String, String)> {
    let journey = |url: &str, path: &str, rules: &str| {
        format!(
            "base_url = \"{url}\"\nschedule = {{ every = \"1s\" }}\nalert = {{ fail_after = 1, recover_after = 1, flapping = false }}\n\
             slo = {{ objective = 50, latency = \"5s\" }}\n\
             [[alerts]]\nid = \"slow\"\nkind = \"latency\"\nover = \"20s\"\n\
             [[alerts]]\nid = \"degraded\"\nkind = \"degraded\"\n{rules}\n\
             [[steps]]\nid = \"s\"\nrequest = \"GET /{path}\"\n"
        )
    };
    let all = "[[alerts]]\nid = \"errors\"\nkind = \"error_rate\"\nover = 10\nwindow = \"1h\"\nmin_runs = 3000\n\
        [[alerts]]\nid = \"burn\"\nkind = \"burn_rate\"\n";
    let config = format!(
        "journeys = [\"j/*.toml\"]\n[limits]\nper_host = 64\n[receivers.ops]\ntype = \"webhook\"\nurl = \"{}\"\n\
         [receivers.am]\ntype = \"alertmanager\"\nurl = \"{other}/am\"\n\
         [receivers.chat]\ntype = \"mattermost\"\nurl = \"{other}/chat\"\nbudget = 10\n\
         [[routes]]\nto = [\"ops\", \"am\", \"chat\"]\ngroup_wait = \"0s\"\n",
        sink.url(),
        other = others.url(),
    );
    let mut files = vec![("journeyd.toml".to_owned(), config)];
    files.extend(
        (0..FLAKY).map(|n| {
            (format!("j/flaky-{n}.toml"), journey(&flaky.url, ["a", "b", "c", "d", "e", "f", "g", "h"][n], ""))
        }),
    );
    files.extend((0..STEADY).map(|n| (format!("j/steady-{n}.toml"), journey(&steady.url, "", ""))));
    files.extend((0..GROUPED).map(|n| (format!("j/grouped-{n}.toml"), journey(&grouped.url, "", all))));
    files
}

/// Starts the daemon, lets the target come and go, and has it die: at `place`, or at some moment.
async fn live_and_die(
    dir: &Path,
    place: Option<&'static str>,
    dice: &mut Dice,
    targets: [(&AtomicU16, u16); 2],
    died_at: &mut BTreeMap<&'static str, u64>,
    kill: u64,
) {
    let mut command =
        journeyd(&["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0", "--log-level", "error"]);
    command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::inherit());
    let patience = match place {
        Some(place) => {
            command.env("JOURNEYD_CRASH_AT", format!("{place}={}", 1 + dice.below(4)));
            Duration::from_secs(20)
        }
        None => Duration::from_millis(100 + dice.below(1500)),
    };
    let mut child = command.spawn().unwrap();
    let mut turn = tokio::time::interval(Duration::from_millis(200 + dice.below(400)));
    let end = tokio::time::sleep(patience);
    tokio::pin!(end);
    let by_itself = loop {
        tokio::select! {
            ended = child.wait() => break Some(ended.unwrap()),
            () = &mut end => break None,
            _ = turn.tick() => {
                for (status, bad) in targets {
                    let next = if status.load(Ordering::SeqCst) == 200 { bad } else { 200 };
                    status.store(next, Ordering::SeqCst);
                }
            }
        }
    };
    match (by_itself, place) {
        (Some(ended), Some(place)) => {
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9), "kill {kill} {place}: {ended}");
            *died_at.entry(place).or_default() += 1;
        }
        (Some(ended), None) => panic!("kill {kill}: it ended by itself: {ended}"),
        (None, _) => {
            child.start_kill().unwrap();
            child.wait().await.unwrap();
        }
    }
}

type Story = Vec<(u32, String, String, String)>;

fn check(dir: &Path, sink: &Sink, kills: u64) {
    let db = rusqlite::Connection::open(dir.join("data/state.db")).unwrap();
    let integrity: String = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(integrity, "ok");

    // What was decided, as the store has it.
    let mut rows =
        db.prepare("SELECT incident, sequence, id, state, message FROM outbox WHERE receiver = 'ops' ORDER BY incident, sequence")
            .unwrap();
    let left: i64 = db
        .query_row("SELECT count(*) FROM outbox WHERE receiver = 'chat' AND incident != 0 AND state NOT IN ('delivered', 'replaced', 'digested')", [], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 0, "the chat is told as well");
    let mut decided: BTreeMap<String, Story> = BTreeMap::new();
    let mut ids: BTreeMap<String, (String, u32, serde_json::Value)> = BTreeMap::new();
    let found = rows.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))).unwrap();
    for row in found {
        let (incident, sequence, id, state, message): (i64, u32, String, String, String) = row.unwrap();
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        let kind = message["kind"].as_str().unwrap().to_owned();
        assert!(["delivered", "replaced"].contains(&state.as_str()), "incident {incident}, {kind}: {state}");
        assert!(ids.insert(id.clone(), (incident.to_string(), sequence, message)).is_none());
        decided.entry(incident.to_string()).or_default().push((sequence, kind, state, id));
    }
    assert!(decided.len() as u64 > kills / 4, "{} incidents in {kills} lives", decided.len());

    // What arrived: every id is one that was decided, and belongs to one message.
    let mut arrived: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    let mut repeats = 0;
    for delivery in sink.deliveries() {
        let (incident, sequence, message) =
            ids.get(&delivery.id).unwrap_or_else(|| panic!("told but not in the store: {delivery:?}"));
        assert_eq!(delivery.incident(), incident);
        assert_eq!(delivery.body["timestamp"], message["at"], "what was told is what was decided");
        assert_eq!(delivery.alert()["journey"]["id"], message["journey"]["id"]);
        let seen = arrived.entry(incident.clone()).or_default();
        if seen.iter().any(|(known, _)| known == sequence) {
            repeats += 1;
        } else {
            seen.push((*sequence, delivery.kind().to_owned()));
        }
    }
    assert!(repeats > 0, "dying after the POST must have repeated one under its id");
    for (incident, story) in &decided {
        let seen = &arrived[incident];
        assert!(seen.iter().map(|(s, _)| s).is_sorted(), "incident {incident} out of order: {seen:?}");
        for (sequence, kind, state, _) in story {
            let told = seen.iter().any(|(s, _)| s == sequence);
            assert_eq!(told, state == "delivered", "incident {incident}: {kind} is {state}, told {told}");
        }
        let mut kinds: Vec<&str> = seen.iter().map(|(_, kind)| kind.as_str()).collect();
        // Journeys that join an outage are news.
        kinds.retain(|kind| *kind != "alert.updated");
        assert!(
            kinds == ["alert.firing", "alert.resolved"] || kinds == ["alert.resolved"],
            "incident {incident}: {kinds:?}"
        );
    }

    // Incidents of one journey follow each other and never overlap; each was told.
    let mut rows =
        db.prepare("SELECT id, journey, opened_at, resolved_at FROM incidents ORDER BY journey, id").unwrap();
    let found = rows.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
    let mut last: Option<(String, i64)> = None;
    let mut incidents = BTreeSet::new();
    for row in found {
        let (id, journey, opened, resolved): (i64, String, i64, Option<i64>) = row.unwrap();
        let resolved = resolved.unwrap_or_else(|| panic!("incident {id} is still open"));
        if let Some((_, until)) = last.as_ref().filter(|(known, _)| *known == journey) {
            assert!(*until <= opened, "incident {id} of {journey} opened while another was open");
        }
        last = Some((journey, resolved));
        incidents.insert(id.to_string());
    }
    assert_eq!(incidents, decided.keys().cloned().collect());
}
