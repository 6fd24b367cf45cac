//! The configuration: `journeyd.toml`, the journeys it names, the environment and secrets it draws on.
//!
//! The passes: [`files`] reads, [`load`] lowers the daemon's own file, then parses and links every journey, and
//! answers with a complete [`Config`] or with everything that is wrong. A reload runs the same passes; nothing
//! below imports this module, each part is handed its own settings.

mod access;
pub mod fields;
pub mod files;
mod library;
pub mod load;
mod notify;
pub mod plan;
mod quiet;
mod routes;
mod secrets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::journey::Journey;
use crate::metrics::MetricsSettings;
use crate::mute::Maintenance;
use crate::notify::NotifySettings;
use crate::runner::RunnerSettings;
use crate::schedule::agenda::Limits;
use crate::secret::Secret;
use crate::store::StoreSettings;
use crate::web::access::Access;

pub use load::{LoadError, Loaded, Request, is_path, load};

/// Where a daemon listens unless told otherwise: outside the range that Prometheus exporters share
/// (9100–9999), and on loopback until somebody decides to open it.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:15769";

/// A complete, valid configuration.
#[derive(Clone)]
pub struct Config {
    /// Another one is another configuration.
    pub version: String,
    pub listen: SocketAddr,
    pub access: Access,
    pub limits: Limits,
    pub metrics: MetricsSettings,
    pub journeys: Vec<Arc<Journey>>,
    pub runner: RunnerSettings,
    /// The file as a shell takes it, unless it is one that commands find by themselves.
    pub told_path: Option<String>,
    pub notify: NotifySettings,
    pub maintenance: Vec<Maintenance>,
    pub heartbeat: Option<Heartbeat>,
    /// What is reached when the network is there, as `host:port`.
    pub control: Arc<Vec<String>>,
    pub store: StoreSettings,
}

impl Config {
    /// Of the URLs that the daemon answers.
    pub fn scheme(&self) -> &'static str {
        if self.access.tls.is_some() { "https" } else { "http" }
    }
}

/// Where to show that journeyd lives.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub url: Secret,
    pub every: Duration,
}

/// Where a configuration is looked for.
const FOUND: [&str; 2] = ["config/journeyd.toml", "/etc/journeyd/journeyd.toml"];

/// The configuration file to use: the one given, else the working directory's, else the system's.
pub fn find(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = given {
        return Some(path.to_owned());
    }
    FOUND.into_iter().map(PathBuf::from).find(|p| p.is_file())
}
