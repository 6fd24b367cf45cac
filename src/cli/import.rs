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
        say(&format!(
            "note: put these under [secrets] in the configuration, and the values into the environment:\n{}",
            lines.collect::<Vec<_>>().join("\n")
        ));
    }
    let Some(output) = &args.output else {
        return match print(&imported.text) {
            Ok(()) => Exit::Fine,
            Err(error) => own_fault(&format!("cannot write the journey: {error}")),
        };
    };
    // A journey that somebody has worked on is not written over.
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(output).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(imported.text.as_bytes())
    });
    match written {
        Ok(()) => {
            say(&format!("wrote {}; try it: journeyd run {}", output.display(), output.display()));
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
