use super::*;
use crate::alert::tests::facts;
use crate::alert::{Alert, AlertKey, State};
use crate::ids::{JourneyId, JourneyKey, ReceiverId, RuleId};
use crate::incident::{Cause, Incident, Member};
use crate::journey::Severity;
use crate::notify::backlog::{Row, RowState};
use crate::notify::message::tests::message;
use crate::notify::message::{Because, Kind};
use crate::report::LastResult;
use crate::slo::Counts;
use crate::store::load::KeptJourney;

const DAY: Duration = Duration::from_secs(86_400);

fn settings(dir: &Path) -> StoreSettings {
    let keep = Keep { runs: DAY * 7, counts: DAY * 30, max_size: 1 << 30 };
    StoreSettings { dir: dir.join("data"), keep, samples: DAY }
}

async fn commit(store: &Store, writes: Vec<Write>) -> Committed {
    store.commit(writes).unwrap().await.unwrap()
}

fn journey(name: &str) -> JourneyKey {
    JourneyKey { journey: JourneyId::new(name).unwrap(), variant: None }
}

fn alert_key(name: &str) -> AlertKey {
    AlertKey { journey: journey(name), rule: RuleId::new("down").unwrap() }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_790_000_000 + secs)
}

fn run(name: &str, started_at: Timestamp, failed: bool) -> Write {
    Write::Run(Box::new(RunRow {
        key: journey(name),
        location: "local".into(),
        run_id: "r".into(),
        trace_id: "t".into(),
        scheduled_at: started_at,
        started_at,
        duration: Duration::from_millis(1500),
        outcome: if failed { "failed" } else { "passed" },
        reason: if failed { "http_5xx" } else { "" },
        step: String::new(),
        report: failed.then(|| "{}".to_owned()),
        last: LastResult {
            up: Some(!failed),
            last_run: Some(started_at),
            last_success: None,
            last_duration: Some(Duration::from_millis(1500)),
        },
        responses: 2,
        server_errors: u32::from(failed),
        maintenance: false,
        track: None,
        counts: Some((crate::slo::minute_of(started_at), Counts { runs: 1, failed: u64::from(failed), slow: 0 })),
    }))
}

fn row(incident: u64, sequence: u32, state: RowState) -> Row {
    Row {
        incident,
        sequence,
        receiver: ReceiverId::new("ops").unwrap(),
        id: format!("msg_{incident}_{sequence}"),
        message: message(Kind::Firing, Because::First),
        state,
        maybe_sent: true,
        failures: 3,
        not_before: at(1),
        expires_at: at(2),
        decided_at: at(0),
        ended_at: state.is_final().then_some(at(1)),
        group_interval: Duration::from_secs(120),
        last_error: "HTTP 503".into(),
    }
}

fn incident(id: u64, resolved_at: Option<Timestamp>) -> Incident {
    let name = format!("j{id}");
    let mut incident = Incident::open(
        id,
        Member::new(alert_key(&name), Severity::Critical, at(-30), at(0)),
        Cause::default(),
        Some(facts("1")),
        Some(at(-60)),
        at(0),
    );
    incident.resolved_at = resolved_at;
    incident
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, empty) = Store::open(&settings(dir.path())).unwrap();
    assert!(empty.journeys.is_empty() && empty.outbox.is_empty());
    let alert = Alert { state: State::Firing, failures: 2, first_failure: Some(facts("1")), ..Alert::inactive(at(0)) };
    let open = incident(1, None);
    let writes = vec![
        run("a", at(0), true),
        run("a", at(60), false),
        Write::Alert { key: alert_key("a"), alert: Some(Box::new(alert.clone())) },
        Write::Alert { key: alert_key("b"), alert: Some(Box::new(alert.clone())) },
        Write::Alert { key: alert_key("b"), alert: None },
        Write::Incident(Box::new(open.clone())),
        Write::Incident(Box::new(incident(2, Some(at(9))))),
        Write::Outbox(Box::new(row(1, 1, RowState::Delivered))),
        Write::Outbox(Box::new(row(2, 1, RowState::Delivered))),
        Write::Outbox(Box::new(row(2, 2, RowState::Sending))),
        Write::Outbox(Box::new(row(7, 1, RowState::Parked))),
        Write::LastGood { key: journey("a"), report: "{}".into() },
    ];
    commit(&store, writes).await.unwrap();
    drop(store);

    let (_store, restored) = Store::open(&settings(dir.path())).unwrap();
    assert_eq!(restored.store_id, empty.store_id, "message ids must not change");
    let KeptJourney { scheduled_at, last, .. } = &restored.journeys[&journey("a")];
    assert_eq!((*scheduled_at, last.up, last.last_run), (at(60), Some(true), Some(at(60))));
    assert_eq!(last.last_duration, Some(Duration::from_millis(1500)));
    assert_eq!(restored.alerts.into_iter().collect::<Vec<_>>(), [(alert_key("a"), alert)]);
    assert_eq!(restored.incidents, [open]);
    // Also numbers that only the outbox knows are taken.
    assert_eq!(restored.last_incident, 7);
    let mut rows = restored.outbox;
    rows.sort_by_key(|r| (r.incident, r.sequence));
    // Of the open incident what was told, of the resolved one what is still under way; the parked one is done.
    assert_eq!(rows, [row(1, 1, RowState::Delivered), row(2, 1, RowState::Delivered), row(2, 2, RowState::Sending)]);
    let counts: Vec<Counts> = restored.hours.iter().map(|(_, _, c)| *c).collect();
    assert_eq!(counts, [Counts { runs: 2, failed: 1, slow: 0 }]);
}

#[tokio::test]
async fn an_older_incident_that_was_never_closed_does_not_keep_a_new_one_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&settings(dir.path())).unwrap();
    let mut twin = incident(1, None);
    twin.id = 2;
    let writes = vec![
        run("a", at(0), false),
        Write::Incident(Box::new(incident(1, None))),
        Write::Incident(Box::new(twin)),
        run("b", at(0), false),
    ];
    commit(&store, writes).await.unwrap();
    drop(store);
    let (_store, restored) = Store::open(&settings(dir.path())).unwrap();
    assert_eq!((restored.incidents.len(), restored.incidents[0].id, restored.journeys.len()), (1, 2, 2));
    // And a row that contradicts the others is left out alone.
    let mut late = incident(1, None);
    late.id = 3;
    let (store, mut again) = (_store, late.clone());
    again.id = 1;
    let writes = vec![Write::Incident(Box::new(late)), Write::Incident(Box::new(again)), run("c", at(0), false)];
    commit(&store, writes).await.unwrap();
    drop(store);
    let (_store, restored) = Store::open(&settings(dir.path())).unwrap();
    assert_eq!((restored.incidents.len(), restored.incidents[0].id, restored.journeys.len()), (1, 3, 3));
}

#[test]
fn what_waits_for_the_store_is_what_there_is_in_order() {
    let resolved = |id| Write::Incident(Box::new(incident(id, Some(at(9)))));
    let open = |id| Write::Incident(Box::new(incident(id, None)));
    let mut writes = vec![
        open(1),
        run("a", at(0), true),
        Write::Outbox(Box::new(row(1, 1, RowState::Waiting))),
        resolved(1),
        open(2),
        run("a", at(1), true),
        Write::Outbox(Box::new(row(1, 1, RowState::Delivered))),
        open(2),
    ];
    compact(&mut writes);
    let left: Vec<String> = writes.iter().map(Write::describe).collect();
    assert_eq!(left, ["a run of a", "incident 1 of j1", "a run of a", "message msg_1_1", "incident 2 of j2"]);
    assert!(matches!(&writes[1], Write::Incident(i) if i.resolved_at.is_some()));
}

#[test]
fn two_daemons_cannot_share_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(&settings(dir.path())).unwrap();
    let error = Store::open(&settings(dir.path())).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    drop(first);
    Store::open(&settings(dir.path())).unwrap();
}

#[test]
fn a_damaged_store_is_set_aside_and_a_newer_or_foreign_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    drop(Store::open(&settings).unwrap());
    let path = settings.dir.join("state.db");
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(100) {
        *byte = 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    drop(Store::open(&settings).unwrap());
    let kept = std::fs::read_dir(&settings.dir).unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
    assert!(kept.into_iter().any(|name| name.starts_with("state.db.damaged-")));

    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Store::open(&settings), Err(StoreError::Newer { found: 99, .. })));
    Connection::open(&path).unwrap().execute_batch("PRAGMA application_id = 1").unwrap();
    assert!(matches!(Store::open(&settings), Err(StoreError::NotOurs)));
}

#[tokio::test]
async fn retention_takes_what_is_old_and_keeps_counts_for_their_window() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&settings(dir.path())).unwrap();
    let keep = Keep { runs: DAY * 7, counts: DAY * 30, max_size: 1 << 30 };
    let day = |n: u32| at(0) + DAY * n;
    let mut writes: Vec<Write> = (0..40).map(|n| run("a", day(n), true)).collect();
    writes.push(Write::Incident(Box::new(incident(1, Some(day(1))))));
    writes.push(Write::Outbox(Box::new(row(1, 1, RowState::Delivered))));
    commit(&store, writes).await.unwrap();
    assert!(store.retain(keep, day(40)).await.unwrap().size > 0);
    let count = |table: &str| -> u32 {
        let db = Connection::open(dir.path().join("data/state.db")).unwrap();
        db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("runs"), count("slo_minutes"), count("slo_hours"), count("incidents")), (7, 30, 30, 1));
    store.retain(keep, day(92)).await.unwrap();
    assert_eq!((count("runs"), count("slo_minutes"), count("incidents"), count("outbox")), (0, 0, 0, 0));
}
