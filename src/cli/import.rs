//! `journeyd import`: from a recording to a journey file.

use std::io::Read as _;
use std::path::Path;

use crate::cli::{Exit, ImportArgs, own_fault, print, say};
use crate::import::{self, ImportError, Imported};

/// A recording with all bodies of a long session.
const MAX_RECORDING: u64 = 256 << 20;

pub fn har(args: &ImportArgs) -> Exit {
    with_text(args, |text| import::journey(import::har::read(text)?, &args.host))
}

pub fn curl(args: &ImportArgs) -> Exit {
    with_text(args, |text| {
        let commands = import::curl::read(text)?;
        let mut imported = import::journey(commands.requests, &args.host)?;
        imported.notes.extend(commands.notes);
        Ok(imported)
    })
}

fn with_text(args: &ImportArgs, convert: impl Fn(&str) -> Result<Imported, ImportError>) -> Exit {
    if let Some(output) = args.output.as_ref().filter(|output| output.exists()) {
        // A journey that somebody has worked on is not written over.
        say(&format!("error: there is a file {} already; --output names another", output.display()));
        return Exit::Usage;
    }
    let shown = args.file.display();
    let text = match read(&args.file) {
        Ok(text) => text,
        Err(error) => {
            say(&format!("error: cannot read {shown}: {error}"));
            return Exit::Usage;
        }
    };
    let imported = match convert(&text) {
        Ok(imported) => imported,
        Err(error) => {
            say(&format!("error: {shown}: {error}"));
            return Exit::Usage;
        }
    };
    for note in &imported.notes {
        say(&format!("note: {note}"));
    }
    if !imported.secrets.is_empty() {
        let lines = imported.secrets.iter().map(|(name, env)| format!("  {name} = {{ env = \"{env}\" }}"));
        let file = args.output.as_ref().map_or_else(|| "THIS-JOURNEY.toml".to_owned(), |o| o.display().to_string());
        say(&format!(
            "note: passwords and tokens are moved out. A configuration that gives them, journeyd.toml:\n  \
             journeys = [\"{file}\"]\n  [secrets]\n{}",
            lines.collect::<Vec<_>>().join("\n")
        ));
    }
    let Some(output) = &args.output else {
        return match print(&imported.text) {
            Ok(()) => Exit::Fine,
            Err(error) => own_fault(&format!("cannot write the journey: {error}")),
        };
    };
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(output).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(imported.text.as_bytes())
    });
    match written {
        Ok(()) => {
            let output = output.display();
            let values: String = imported.secrets.iter().map(|(_, env)| format!("{env}=… ")).collect();
            let config = if imported.secrets.is_empty() { "" } else { "--config journeyd.toml " };
            say(&format!("wrote {output}; try it: {values}journeyd run {config}{output}"));
            Exit::Fine
        }
        Err(error) => {
            say(&format!("error: cannot write {}: {error}", output.display()));
            Exit::Usage
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_RECORDING + 1).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(MAX_RECORDING + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_RECORDING {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "larger than 256 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
