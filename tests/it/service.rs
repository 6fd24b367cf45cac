//! Under systemd: what the daemon tells it, and what the unit allows.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::process::Running;
use crate::support::target::{Act, Target, response};
use crate::support::{PATIENCE, eventually, folder, root};

/// The next datagrams until one fits.
fn hear(socket: &UnixDatagram, what: &str) -> String {
    for _ in 0..100 {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.lines().any(|line| line == what) {
            return text;
        }
    }
    panic!("never heard {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_ready_the_watchdog_reloads_and_the_end() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let journey = format!("base_url = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n", target.url);
    // As the shipped configuration has it: under systemd and in a container that folder cannot be written.
    let config = "journeys = [\"a.toml\"]\n[store]\ndir = \"../data\"\n";
    let dir = folder(&[("journeyd.toml", config), ("a.toml", &journey)]);
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let state = dir.path().join("state");
    let env = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "400000"),
        ("STATE_DIRECTORY", state.to_str().unwrap()),
    ];
    let mut daemon = Running::serve(dir.path(), &env).await;
    assert!(hear(&socket, "READY=1").contains("STATUS=1 journeys"));
    hear(&socket, "WATCHDOG=1");
    assert!(state.join("state.db").exists(), "the store is where systemd wants state");
    daemon.signal("HUP");
    assert!(hear(&socket, "RELOADING=1").contains("MONOTONIC_USEC="));
    hear(&socket, "READY=1");
    daemon.signal("TERM");
    hear(&socket, "STOPPING=1");
    assert_eq!(daemon.ended().await, 0);
}

/// The store's disk hangs: a writer that stands still must not be vouched for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standstill_is_not_pinged_away() {
    let target = Target::start(Act::Reply(response("200 OK", &[], "ok"))).await;
    let journey = format!("base_url = \"{}\"\n[[steps]]\nid = \"s\"\nrequest = \"GET /\"\n", target.url);
    let dir = folder(&[("journeyd.toml", "journeys = [\"a.toml\"]\n"), ("a.toml", &journey)]);
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    // Like systemd, it reads all the time. Ends with the test's process.
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length) = socket.recv(&mut bytes) {
            counted.fetch_add(usize::from(bytes[..length].starts_with(b"WATCHDOG=1")), Ordering::SeqCst);
        }
    });
    let env = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "400000"), ("JOURNEYD_HANG_AT", "writer")];
    let daemon = Running::serve(dir.path(), &env).await;
    let noticed = |times: usize| {
        let output = &daemon.output;
        move || async move {
            let text = output.lock().unwrap().clone();
            (text.matches("stands still; the watchdog is not pinged").count() >= times).then_some(())
        }
    };
    eventually("the standstill is noticed", noticed(1)).await;
    let before = pings.load(Ordering::SeqCst);
    assert!(before > 0, "it was pinged while the writer could be waited for");
    eventually("three more turns", noticed(4)).await;
    assert_eq!(pings.load(Ordering::SeqCst), before);
}

#[test]
fn the_unit_is_valid_and_locked_down() {
    if std::process::Command::new("systemd-analyze").arg("--version").output().is_err() {
        assert!(std::env::var_os("JOURNEYD_TEST_REQUIRE_ALL").is_none(), "systemd-analyze is not installed");
        eprintln!("SKIPPED: systemd-analyze is not installed");
        return;
    }
    let unit = root().join("deploy/systemd/journeyd.service");
    let unit = unit.to_str().unwrap();
    // 15 is an exposure of 1.5 of 10; what is left is the network, which it needs.
    let rated = std::process::Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=15", unit])
        .output()
        .unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
    let verified = std::process::Command::new("systemd-analyze").args(["verify", unit]).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // Not installed here is no mistake of the unit.
    let wrong: Vec<&str> =
        said.lines().filter(|l| l.contains("journeyd.service") && !l.contains("is not executable")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
