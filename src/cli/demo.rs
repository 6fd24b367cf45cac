//! `journeyd demo`: the shop, the shipped journeys, a live board.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppParts};
use crate::cli::board::{Board, Links};
use crate::cli::{DemoArgs, Exit, own_fault, say, sender, tell, tell_load_error, temporary_store};
use crate::config::files::Files;
use crate::config::{Config, Request, load};
use crate::demo;
use crate::diag::Gravity;
use crate::ids::ReceiverId;
use crate::notify::route::{Pace, Route};
use crate::notify::{Dialect, NotifySettings, Receiver};
use crate::runner::Runner;
use crate::secret::Secret;

const EVERY: Duration = Duration::from_secs(3);
const GROUP_WAIT: Duration = Duration::from_secs(1);
/// Cleanup's share of the five seconds in which a demo ends.
const CLEANUP: Duration = Duration::from_secs(3);
const METRICS_PORT: u16 = 15769;
const SHOP_PORT: u16 = 15770;

/// The shipped files: the very ones that `serve` loads.
static SHIPPED: &[(&str, &str)] = &[
    ("config/journeyd.toml", include_str!("../../config/journeyd.toml")),
    ("journeys/login.toml", include_str!("../../journeys/login.toml")),
    ("journeys/search.toml", include_str!("../../journeys/search.toml")),
    ("journeys/checkout.toml", include_str!("../../journeys/checkout.toml")),
    ("journeys/shared/login.toml", include_str!("../../journeys/shared/login.toml")),
];

/// The shop has a page that shows what a chat would: alerts go there, soon enough to be waited for.
fn tell_the_demo_chat(config: &mut Config, shop: SocketAddr) {
    let Some(id) = ReceiverId::new("demo-chat") else { return };
    let url = Secret::new(&format!("http://{shop}{}", demo::CHAT_HOOK));
    let receiver = Receiver::new(Dialect::Slack, vec![url]);
    let pace = Pace { group_wait: GROUP_WAIT, ..Pace::default() };
    config.notify = NotifySettings {
        receivers: BTreeMap::from([(id.clone(), receiver)]),
        unusable: Vec::new(),
        routes: vec![Route { matches: Vec::new(), to: vec![id], and_on: false, pace, escalate: Vec::new() }],
    };
}

/// The shop alone, for a daemon elsewhere to watch.
async fn shop_alone(listen: Option<SocketAddr>) -> Exit {
    let bound = bind(listen, SHOP_PORT).await;
    let listener = match bound {
        Ok(listener) => listener,
        Err(error) => return own_fault(&format!("cannot listen: {error}")),
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return own_fault("cannot handle signals");
    };
    if let Ok(address) = listener.local_addr() {
        say(&format!("shop     http://{address}/\nfaults   http://{address}/faults"));
    }
    tokio::select! {
        () = demo::serve(listener, None, CancellationToken::new()) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Exit::Fine
}

pub async fn demo(args: DemoArgs) -> Exit {
    if args.shop_only {
        return shop_alone(args.shop_listen).await;
    }
    let bound = async {
        let shop = bind(args.shop_listen, SHOP_PORT).await?;
        let metrics = bind(args.listen, METRICS_PORT).await?;
        io::Result::Ok((shop.local_addr()?, shop, metrics.local_addr()?, metrics))
    };
    let (shop_addr, shop_listener, metrics_addr, listener) = match bound.await {
        Ok(bound) => bound,
        Err(error) => return own_fault(&format!("cannot listen: {error}")),
    };
    let request = Request {
        files: Files::Embedded(SHIPPED),
        // The demo is the same everywhere: only the shop's address is set.
        env: BTreeMap::from([("SHOP_URL".to_owned(), format!("http://{shop_addr}"))]),
        config: Some(PathBuf::from("config/journeyd.toml")),
        select: None,
        unset: Gravity::Error,
        overrides: BTreeMap::new(),
        base_url: None,
        every: Some(EVERY),
    };
    let loaded = match load(&request) {
        Ok(loaded) => loaded,
        Err(error) => return tell_load_error(&error),
    };
    tell(&loaded.findings);
    let Some(mut config) = loaded.config else { return Exit::Usage };
    tell_the_demo_chat(&mut config, shop_addr);
    let runner = match Runner::new() {
        Ok(runner) => runner,
        Err(error) => return own_fault(&error.to_string()),
    };
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return own_fault("cannot handle signals");
    };

    let stop_shop = CancellationToken::new();
    let (flags, mut flagged) = mpsc::channel(16);
    let shop = tokio::spawn(demo::serve(shop_listener, Some(flags), stop_shop.clone()));
    let (events, mut watched) = mpsc::channel(256);
    let parts = temporary_store(config.store.keep).and_then(|store| Ok((store, sender(&runner)?)));
    // The folder lives as long as this does.
    let ((_temporary, store), sender) = match parts {
        Ok(parts) => parts,
        Err(error) => return own_fault(&error),
    };
    let app =
        App::start(&config, AppParts { runner, listener, store, sender, watcher: Some(events), writes: None }).await;
    let links = Links { shop: format!("http://{shop_addr}"), daemon: format!("http://{metrics_addr}") };
    let mut board = Board::new(links, &config.journeys);
    let mut watching = board.open();
    while watching.is_ok() {
        tokio::select! {
            event = watched.recv() => match event {
                Some(event) => watching = board.show(&event),
                None => break,
            },
            Some(state) = flagged.recv() => app.changed("shop", state, "flag"),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    board.close();
    tokio::select! {
        () = app.stop(CLEANUP) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // The shop goes last: cleanup still talks to it.
    stop_shop.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(1), shop).await;
    Exit::Fine
}

/// The address asked for, or else the first free port from `port` on.
async fn bind(asked: Option<SocketAddr>, port: u16) -> io::Result<TcpListener> {
    if let Some(address) = asked {
        return TcpListener::bind(address).await.map_err(|e| io::Error::new(e.kind(), format!("{address}: {e}")));
    }
    for port in (port..port + 100).step_by(2) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}
