//! Help for editors, shells and readers: schemas, completions, manual pages, the reference. All of them are made from
//! the tables and definitions that the program itself works with.

use std::path::Path;

use clap::CommandFactory as _;
use serde_json::Value as Json;

use crate::cli::{Cli, Exit, SchemaFile, own_fault, print};
use crate::config::fields::config;
use crate::document::schema::schema as schema_of;
use crate::journey::fields::{fragment, journey};

fn schema_text(file: SchemaFile) -> String {
    let schema: Json = match file {
        SchemaFile::Journey => schema_of(&journey::TABLE, "A journey of journeyd"),
        SchemaFile::Fragment => schema_of(&fragment::TABLE, "A fragment of journeyd's journeys"),
        SchemaFile::Config => schema_of(&config::TABLE, "The configuration of journeyd"),
    };
    format!("{schema:#}\n")
}

pub fn schema(file: SchemaFile) -> Exit {
    printed(&schema_text(file))
}

pub fn completions(shell: clap_complete::Shell) -> Exit {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "journeyd", &mut out);
    printed(&String::from_utf8_lossy(&out))
}

pub fn man(folder: &Path) -> Exit {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    match written {
        Ok(()) => Exit::Fine,
        Err(error) => own_fault(&format!("cannot write to {}: {error}", folder.display())),
    }
}

fn printed(text: &str) -> Exit {
    match print(text) {
        Ok(()) => Exit::Fine,
        Err(error) => own_fault(&format!("cannot write the result: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::PathBuf;

    use super::*;
    use crate::document::{Field, Shape, TableKind};

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    /// The file equals `want`; with UPDATE_GOLDEN it is made so.
    fn hold_equal(file: &str, want: &str) {
        let path = root().join(file);
        if crate::config::files::environment().contains_key("UPDATE_GOLDEN") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, want).unwrap();
        }
        let got = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(got == want, "{file} is not what the tables say; UPDATE_GOLDEN=1 cargo test writes it");
    }

    #[test]
    fn the_schemas_in_config_schema_are_the_tables() {
        for (name, file) in
            [("journey", SchemaFile::Journey), ("fragment", SchemaFile::Fragment), ("config", SchemaFile::Config)]
        {
            hold_equal(&format!("config/schema/{name}.json"), &schema_text(file));
        }
    }

    #[test]
    fn the_reference_in_docs_is_the_tables() {
        let mut out = String::from(
            "# Every key\n\nMade from the tables that the parser works with; `journeyd schema journey|fragment|config` \
             gives the same to editors. How things work together is told in [journeys.md](journeys.md) and \
             [alerts.md](alerts.md).\n",
        );
        let mut told = BTreeSet::new();
        for (title, kind) in [
            ("Journey files", &journey::TABLE),
            ("Fragment files", &fragment::TABLE),
            ("The configuration", &config::TABLE),
        ] {
            let _ = writeln!(out, "\n## {title}");
            let mut waiting = vec![kind];
            while !waiting.is_empty() {
                let kind = waiting.remove(0);
                if !told.insert(kind.name) {
                    continue;
                }
                write_table(&mut out, kind);
                for field in kind.known() {
                    tables_of(&field.shape, &mut waiting);
                }
            }
        }
        hold_equal("docs/reference.md", &out);
    }

    fn write_table(out: &mut String, kind: &TableKind) {
        let _ = writeln!(out, "\n### {}\n\n| key | takes | for |\n|---|---|---|", kind.what);
        for field in kind.known() {
            let _ = writeln!(out, "| `{}` | {} | {} |", field.name, cell(field.expects), cell(&about(field)));
        }
    }

    fn about(field: &Field) -> String {
        let code = |text: &str| format!("`{}`", text.replace('\'', "\""));
        let mut out = field.doc.to_owned();
        if !field.default.is_empty() {
            let plain = toml::from_str::<toml::Table>(&format!("v = {}", field.default)).is_err();
            let shown = if plain { field.default.to_owned() } else { code(field.default) };
            let _ = write!(out, " Default: {shown}.");
        }
        if !field.example.is_empty() {
            let _ = write!(out, " Example: {}", code(&format!("{} = {}", field.name, field.example)));
        }
        out
    }

    fn cell(text: &str) -> String {
        text.replace('|', "\\|")
    }

    fn tables_of(shape: &'static Shape, out: &mut Vec<&'static TableKind>) {
        match shape {
            Shape::Table(kind) | Shape::Tables(kind) => out.push(kind),
            Shape::Map(inner) | Shape::List(inner) | Shape::Some(inner) | Shape::Named(_, inner) => {
                tables_of(inner, out);
            }
            Shape::Either(shapes) => shapes.iter().for_each(|shape| tables_of(shape, out)),
            _ => {}
        }
    }

    /// What stands as an example or default must be what the key takes.
    #[test]
    fn every_example_and_default_is_toml() {
        for kind in [&journey::TABLE, &config::TABLE] {
            let mut seen = BTreeSet::new();
            let mut waiting = vec![kind];
            while let Some(kind) = waiting.pop() {
                if !seen.insert(kind.name) {
                    continue;
                }
                for field in kind.known() {
                    tables_of(&field.shape, &mut waiting);
                    assert!(field.doc.ends_with('.'), "{}.{}: {:?}", kind.name, field.name, field.doc);
                    if !field.example.is_empty() {
                        let text = format!("v = {}", field.example);
                        toml::from_str::<toml::Table>(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
                    }
                }
            }
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
