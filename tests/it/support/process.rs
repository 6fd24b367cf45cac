//! The journeyd binary under test.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{PATIENCE, eventually, get};

/// A command with an empty environment but for what it needs to run at all.
pub fn journeyd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_journeyd"));
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .kill_on_drop(true)
        .stdin(Stdio::null());
    command
}

/// Runs to the end.
pub async fn run(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Finished {
    let mut command = journeyd(args);
    command.current_dir(dir).envs(env.iter().copied());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("journeyd ended").unwrap();
    Finished::from(output)
}

#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A journeyd that goes on until told otherwise.
pub struct Running {
    child: Child,
    /// They end with the output.
    readers: Vec<JoinHandle<()>>,
    pub output: Arc<Mutex<String>>,
    /// `http://address` of the metrics.
    pub url: String,
    /// `http://address` of the demo's shop.
    pub shop: String,
}

impl Running {
    pub async fn serve(dir: &Path, env: &[(&str, &str)]) -> Self {
        Self::serve_with(dir, &[], env).await
    }

    pub async fn serve_with(dir: &Path, more: &[&str], env: &[(&str, &str)]) -> Self {
        let args = ["serve", "--config", "journeyd.toml", "--listen", "127.0.0.1:0", "--log-level", "debug"];
        let mut command = journeyd(&[&args, more].concat());
        command.current_dir(dir).envs(env.iter().copied());
        Self::start(command, "Metrics at ").await
    }

    pub async fn demo() -> Self {
        let mut running =
            Self::start(journeyd(&["demo", "--listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]), "metrics  ")
                .await;
        let output = running.output();
        running.shop = address_after(&output, "shop     ").expect("the shop's address");
        running
    }

    /// Any command that goes on, without waiting for an address.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&output)),
            collect(child.stderr.take().unwrap(), Arc::clone(&output)),
        ];
        Self { child, output, readers, url: String::new(), shop: String::new() }
    }

    pub async fn start(command: Command, mark: &str) -> Self {
        let Self { child, output, readers, .. } = Self::spawn(command);
        let url = eventually("the daemon's address", || async {
            let text = output.lock().unwrap().clone();
            address_after(&text, mark)
        })
        .await;
        let running = Self { child, output, readers, url, shop: String::new() };
        eventually("ready", || async { (get(&format!("{}/-/ready", running.url)).await.0 == 200).then_some(()) }).await;
        running
    }

    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub async fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.url)).await.1
    }

    /// Waits until the metrics satisfy `test`.
    pub async fn until_metrics(&self, what: &str, test: impl Fn(&str) -> bool) -> String {
        eventually(what, || async {
            let text = self.metrics().await;
            test(&text).then_some(text)
        })
        .await
    }

    pub fn pid(&self) -> String {
        self.child.id().expect("still running").to_string()
    }

    pub fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill").args([&format!("-{name}"), &self.pid()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end and gives the exit code.
    pub async fn ended(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("journeyd ended").unwrap();
        // Its last words too.
        for reader in self.readers.drain(..) {
            tokio::time::timeout(PATIENCE, reader).await.expect("its output ends with it").unwrap();
        }
        status.code().unwrap_or(-1)
    }

    /// Switches a fault of the demo's shop.
    pub async fn fault(&self, patch: &str) {
        let request = super::client().put(format!("{}/api/faults", self.shop));
        let response = request.header("content-type", "application/json").body(patch.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 200, "{patch}");
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: Arc<Mutex<String>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    })
}

fn address_after(text: &str, mark: &str) -> Option<String> {
    let rest = &text[text.find(mark)? + mark.len()..];
    let line = rest.lines().next()?;
    let end = line.find("/metrics").or_else(|| line.rfind('/'))?;
    Some(line[..end].to_owned())
}
