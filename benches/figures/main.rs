//! The README's figures. `cargo bench` measures all of them in about eight minutes; `cargo bench -- --quick` in two.
//!
//! Everything is measured in one run on one machine, interleaved, against a floor: a bare hyper client that does
//! the same requests over the same kind of connections. CPU is user and system time of the measured process, never
//! wall time. Single numbers move with the machine; ratios within one run are what to compare.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are read by people; this is not the daemon"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod floor;
mod target;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["target"] => {
            pin(1);
            target::serve()
        }
        ["floor", url, runs] => {
            pin(0);
            print_loop(&floor::closed_loop(url, runs.parse()?)?)
        }
        ["product", config, runs] => {
            pin(0);
            print_loop(&product(config, runs.parse()?)?)
        }
        ["commits", config, batches, size] => {
            let took = journeyd::bench::runtime()?.block_on(journeyd::bench::commits(
                Path::new(config),
                batches.parse()?,
                size.parse()?,
            ))?;
            println!("{}", took.as_micros());
            Ok(())
        }
        [] => figures(false),
        ["--quick"] => figures(true),
        other => Err(format!("unknown arguments {other:?}").into()),
    }
}

/// The measured process and its target each on a core of its own, or the scheduler decides the result.
fn pin(core: usize) {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    // With one core there is nothing to choose.
    let _ = rustix::thread::sched_setaffinity(None, &cores);
}

/// What a measured process reports on its standard output.
struct Measured {
    cpu_us: f64,
    wall_us: f64,
    steps: u64,
    p50_us: f64,
    p99_us: f64,
}

fn product(config: &str, runs: u64) -> Result<Measured> {
    let done = journeyd::bench::runtime()?.block_on(journeyd::bench::closed_loop(Path::new(config), runs))?;
    if done.failed > 0 {
        return Err(format!("{} runs failed", done.failed).into());
    }
    Ok(Measured::of(done.cpu, done.wall, done.steps))
}

impl Measured {
    fn of(cpu: Duration, wall: Duration, mut steps: Vec<Duration>) -> Self {
        steps.sort_unstable();
        let at = |share: f64| steps.get((steps.len() as f64 * share) as usize).map_or(0.0, |d| d.as_secs_f64() * 1e6);
        Self {
            cpu_us: cpu.as_secs_f64() * 1e6,
            wall_us: wall.as_secs_f64() * 1e6,
            steps: steps.len() as u64,
            p50_us: at(0.5),
            p99_us: at(0.99),
        }
    }

    fn per_step(&self) -> f64 {
        self.cpu_us / self.steps as f64
    }
}

fn print_loop(m: &Measured) -> Result<()> {
    println!("{} {} {} {} {}", m.cpu_us, m.wall_us, m.steps, m.p50_us, m.p99_us);
    Ok(())
}

fn measure(args: &[&str]) -> Result<Measured> {
    let output = Command::new(std::env::current_exe()?).args(args).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    let [cpu_us, wall_us, steps, p50_us, p99_us] = numbers[..] else { return Err(format!("{args:?}: {text}").into()) };
    Ok(Measured { cpu_us, wall_us, steps: steps as u64, p50_us, p99_us })
}

/// A child that is ended with this value.
struct Running(Child, String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_target() -> Result<Running> {
    let mut child = Command::new(std::env::current_exe()?).arg("target").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok(Running(child, line.trim().to_owned()))
}

fn journey(url: &str, prefix: &str, html: bool, every: &str) -> String {
    let page =
        if html { "expect.css.\"ul.results li\" = { count = 20 }" } else { "expect.body = { contains = \"item 19\" }" };
    format!(
        "base_url = \"{url}\"\nschedule = {{ every = \"{every}\" }}\n\
         [[steps]]\nid = \"login\"\nrequest = \"POST {prefix}/login\"\njson = {{ user = \"u\", password = \"pass-word\" }}\n\
         expect.json.\"$.ok\" = true\n\
         [[steps]]\nid = \"search\"\nrequest = \"GET {prefix}/search?q=mug\"\n{page}\n\
         [[steps]]\nid = \"checkout\"\nrequest = \"POST {prefix}/checkout\"\njson = {{ sku = \"mug-01\" }}\n\
         expect.json.\"$.order.status\" = \"placed\"\n"
    )
}

fn write_site(dir: &Path, text: &str, count: usize, more: &str) -> Result<String> {
    std::fs::create_dir_all(dir.join("j"))?;
    for n in 0..count {
        std::fs::write(dir.join(format!("j/shop-{n}.toml")), text)?;
    }
    let config = dir.join("journeyd.toml");
    std::fs::write(&config, format!("journeys = [\"j/*.toml\"]\n{more}"))?;
    Ok(config.to_string_lossy().into_owned())
}

fn figures(quick: bool) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let target = start_target()?;
    let url = &target.1;
    let (rounds, runs) = if quick { (3, "1000") } else { (5, "3000") };

    let plain = write_site(&dir.path().join("plain"), &journey(url, "", false, "1m"), 1, "")?;
    let html = write_site(&dir.path().join("html"), &journey(url, "", true, "1m"), 1, "")?;
    let mut cpu: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        let floor = measure(&["floor", url, runs])?.per_step();
        cpu.entry("floor").or_default().push(floor);
        for (name, config) in [("plain", &plain), ("html", &html)] {
            let product = measure(&["product", config, runs])?.per_step();
            cpu.entry(name).or_default().push(product);
            ratios.entry(name).or_default().push(product / floor);
        }
    }
    println!("CPU per step, closed loop, store on, {rounds} interleaved rounds of {runs} journeys (median, min-max):");
    println!("  bare hyper client         {} µs", spread(&cpu["floor"]));
    println!("  journeyd                  {} µs   {} x", spread(&cpu["plain"]), spread(&ratios["plain"]));
    println!("  journeyd, one step HTML   {} µs   {} x", spread(&cpu["html"]), spread(&ratios["html"]));

    let slow_runs = if quick { "30" } else { "100" };
    let slow = write_site(&dir.path().join("slow"), &journey(url, "/slow", false, "1m"), 1, "")?;
    println!("Latency error against a server that waits 20 ms: reported minus what the server measured itself:");
    for (name, args) in [
        ("bare hyper client", ["floor", &format!("{url}/slow"), slow_runs]),
        ("journeyd         ", ["product", &slow, slow_runs]),
    ] {
        get(url, "/stats")?;
        let got = measure(&args)?;
        let server: Vec<f64> =
            get(url, "/stats")?.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
        println!(
            "  {name}  p50 {:+.2} ms, p99 {:+.2} ms",
            (got.p50_us - server[0]) / 1e3,
            (got.p99_us - server[1]) / 1e3
        );
    }

    for (batches, size) in [("2000", "1"), ("200", "200")] {
        let output = Command::new(std::env::current_exe()?).args(["commits", &plain, batches, size]).output()?;
        let took: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        let commits = batches.parse::<f64>()? / (took / 1e6);
        println!(
            "Commits of {size:>3} runs, each fsynced: {commits:.0} /s, {:.0} runs/s",
            commits * size.parse::<f64>()?
        );
    }
    for count in if quick { vec![1000] } else { vec![1000, 10_000] } {
        daemon(dir.path(), url, count, quick)?;
    }
    Ok(())
}

/// The daemon on its schedule: every journey once a minute.
fn daemon(dir: &Path, url: &str, count: usize, quick: bool) -> Result<()> {
    let dir = dir.join(format!("daemon-{count}"));
    let more = "[metrics]\nmax_series = 10000000\n[limits]\nper_host = 64\n";
    let config = write_site(&dir, &journey(url, "", false, "1m"), count, more)?;
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_journeyd"))
        .args(["serve", "--config", &config, "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("no log")?).lines();
    let daemon = Running(child, String::new());
    let address = lines
        .by_ref()
        .map_while(std::result::Result::ok)
        .find_map(|line| Some(line.split_once("Metrics at http://")?.1.split_once("/metrics")?.0.to_owned()))
        .ok_or("the daemon did not start")?;
    std::thread::spawn(move || lines.for_each(drop));
    let load = began.elapsed();
    let pid = daemon.0.id();
    std::thread::sleep(Duration::from_secs(if quick { 65 } else { 125 }));
    let before = cpu_ticks(pid)?;
    std::thread::sleep(Duration::from_secs(if quick { 20 } else { 60 }));
    let share = (cpu_ticks(pid)? - before) / if quick { 20.0 } else { 60.0 };
    let rss = resident_mb(pid)?;
    let watch = Instant::now();
    let text = get(&format!("http://{address}"), "/metrics")?;
    let scrape = watch.elapsed();
    let value = |name: &str| -> f64 {
        text.lines()
            .filter(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    println!("Daemon with {count} three-step journeys a minute (load {:.1} s):", load.as_secs_f64());
    println!(
        "  runs {:.0}, failed {:.0}, missed {:.0}",
        value("journeyd_journey_runs_total"),
        value("journeyd_journey_run_failures_total"),
        value("journeyd_journey_runs_missed_total")
    );
    println!(
        "  resident {rss:.0} MB, {:.0} MB after a scrape; CPU {:.2} % of a core",
        resident_mb(pid)?,
        share * 100.0
    );
    println!("  start lag p50 <= {} s, p99 <= {} s", quantile(&text, 0.5), quantile(&text, 0.99));
    println!(
        "  scrape {:.0} ms, {:.1} MB, {} series",
        scrape.as_secs_f64() * 1e3,
        text.len() as f64 / 1e6,
        text.lines().filter(|l| !l.starts_with('#')).count()
    );
    Ok(())
}

/// The bound of the bucket that holds the quantile of the start lag.
fn quantile(text: &str, share: f64) -> String {
    let buckets = text.lines().filter_map(|l| {
        let (le, count) = l.strip_prefix("journeyd_scheduler_lag_seconds_bucket{le=\"")?.split_once("\"} ")?;
        Some((le.to_owned(), count.parse::<f64>().ok()?))
    });
    let buckets: Vec<(String, f64)> = buckets.collect();
    let total = buckets.last().map_or(0.0, |b| b.1);
    buckets.iter().find(|b| b.1 >= total * share).map_or_else(|| "?".to_owned(), |b| b.0.clone())
}

fn spread(values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}-{:.2})", sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn get(url: &str, path: &str) -> Result<String> {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") || head.to_lowercase().contains("transfer-encoding") {
        return Err(format!("unexpected answer: {head}").into());
    }
    Ok(body.to_owned())
}

/// Seconds of user and system time.
fn cpu_ticks(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().ok_or("no stat")?.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn resident_mb(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse::<f64>()? / 1024.0)
}
