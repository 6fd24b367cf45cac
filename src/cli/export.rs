//! `journeyd export`: rules and dashboards for Prometheus and Grafana.

use crate::cli::{Exit, ExportCommand, RulesArgs, RulesFormat, open_config, out, own_fault, say};
use crate::clock::now;
use crate::export;

/// Where the shipped rules say that runbooks are.
const RUNBOOKS: &str = "https://runbooks.example/journeyd";

/// As they are in `deploy/`.
const RECORDING: &str = include_str!("../../deploy/prometheus/journeyd.rules.yml");
const ALERTS: &str = include_str!("../../deploy/prometheus/journeyd.alerts.yml");
const DASHBOARDS: [(&str, &str); 4] = [
    ("journeyd-overview.json", include_str!("../../deploy/grafana/dashboards/journeyd-overview.json")),
    ("journeyd-journey.json", include_str!("../../deploy/grafana/dashboards/journeyd-journey.json")),
    ("journeyd-slo.json", include_str!("../../deploy/grafana/dashboards/journeyd-slo.json")),
    ("journeyd-self.json", include_str!("../../deploy/grafana/dashboards/journeyd-self.json")),
];

pub fn export(command: ExportCommand) -> Exit {
    match command {
        ExportCommand::Rules(args) => rules(&args),
        ExportCommand::Dashboards { folder } => {
            let written = std::fs::create_dir_all(&folder)
                .and_then(|()| DASHBOARDS.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)));
            match written {
                Ok(()) => out(&DASHBOARDS.map(|(name, _)| format!("{}\n", folder.join(name).display())).concat()),
                Err(error) => own_fault(&format!("cannot write to {}: {error}", folder.display())),
            }
        }
    }
}

fn rules(args: &RulesArgs) -> Exit {
    let runbooks = args.runbooks.trim_end_matches('/');
    if args.generic {
        // One file: a group's rules find each other in any order.
        let groups = ALERTS.split_once("groups:\n").map_or("", |(_, groups)| groups);
        return out(&format!("{RECORDING}{groups}").replace(RUNBOOKS, runbooks));
    }
    let config = match open_config(&args.config) {
        Ok((config, _)) => config,
        Err(exit) => return exit,
    };
    let exported = match args.format {
        RulesFormat::Prometheus => export::prometheus(&config.journeys, now(), runbooks),
        RulesFormat::Sloth => export::sloth(&config.journeys, runbooks),
    };
    let documents: Vec<String> = exported.documents.iter().map(export::yaml).collect();
    let text = documents.join("---\n");
    if exported.targets == 0 {
        say("note: no journey has [slo] objective; --generic gives rules that need none");
    }
    exported.notes.iter().for_each(|note| say(&format!("note: {note}")));
    out(&text)
}
