//! What editors, shells and readers get: schemas that real tools work with, completions, manual pages.

use std::process::Command;

use crate::support::process::run;
use crate::support::{folder, python, root};

/// Every TOML file that is shipped, with the schema that its first line names.
fn shipped() -> Vec<String> {
    let mut out = vec!["config/journeyd.toml".to_owned()];
    for folder in ["journeys", "journeys/shared", "docs/cookbook"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".toml") {
                out.push(format!("{folder}/{name}"));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn every_shipped_file_names_a_schema_that_exists() {
    let files = shipped();
    assert!(files.len() >= 16, "{files:?}");
    for file in files {
        let path = root().join(&file);
        let text = std::fs::read_to_string(&path).unwrap();
        let schema = text
            .lines()
            .next()
            .and_then(|l| l.strip_prefix("#:schema "))
            .unwrap_or_else(|| panic!("{file} has no #:schema line"));
        assert!(path.parent().unwrap().join(schema).exists(), "{file}: {schema}");
    }
}

/// Two tools that know nothing of each other: a validator of the schema's draft, and the language server that editors
/// use, through the `#:schema` line.
#[test]
fn every_shipped_file_is_valid_by_its_schema_and_mistakes_are_not() {
    let Some(python) = python() else { return };
    let script = "import sys, json, tomllib, pathlib, jsonschema\n\
        for name in sys.argv[1:]:\n\
        \x20   path = pathlib.Path(name)\n\
        \x20   schema = path.parent / path.read_text().splitlines()[0].removeprefix('#:schema ')\n\
        \x20   schema = json.loads(schema.read_text())\n\
        \x20   jsonschema.Draft202012Validator.check_schema(schema)\n\
        \x20   errors = list(jsonschema.Draft202012Validator(schema).iter_errors(tomllib.loads(path.read_text())))\n\
        \x20   print(name, len(errors), *[e.json_path + ': ' + e.message[:120] for e in errors[:3]])\n";
    let output = Command::new(&python).args(["-c", script]).args(shipped()).current_dir(root()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let wrong: Vec<&str> = text.lines().filter(|l| !l.ends_with(" 0")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");

    let tombi = python.with_file_name("tombi");
    let lint = |files: &[String]| {
        let output = Command::new(&tombi).args(["lint", "--offline"]).args(files).current_dir(root()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let text = lint(&shipped());
    assert!(text.contains("linted successfully") && !text.contains("Warning") && !text.contains("Error"), "{text}");
    let schema = root().join("config/schema/journey.json");
    let bad = format!("#:schema {}\ntimeout = 3\nnonsense = true\n", schema.display());
    let dir = folder(&[("bad.toml", &bad)]);
    let text = lint(&[dir.path().join("bad.toml").display().to_string()]);
    assert!(text.contains("Error") && text.contains("bad.toml"), "{text}");
}

#[tokio::test]
async fn schemas_completions_and_manual_pages_come_from_the_binary() {
    let dir = folder(&[]);
    for name in ["journey", "fragment", "config"] {
        let finished = run(dir.path(), &["schema", name], &[]).await;
        let shipped = std::fs::read_to_string(root().join(format!("config/schema/{name}.json"))).unwrap();
        assert_eq!((finished.code, finished.stdout), (0, shipped));
    }
    for (shell, part) in
        [("bash", "complete -F _journeyd"), ("zsh", "#compdef journeyd"), ("fish", "complete -c journeyd")]
    {
        let finished = run(dir.path(), &["completions", shell], &[]).await;
        assert!(finished.code == 0 && finished.stdout.contains(part), "{shell}: {}", finished.stdout);
    }
    let finished = run(dir.path(), &["man", "pages"], &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    for page in ["journeyd.1", "journeyd-run.1", "journeyd-import-har.1", "journeyd-check.1"] {
        let text = std::fs::read_to_string(dir.path().join("pages").join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
}

/// The schema may know less than the parser, never more: what it refuses, `check` refuses too.
#[test]
fn what_the_schema_refuses_is_refused_by_check() {
    let Some(python) = python() else { return };
    let script = "import json, tomllib, pathlib, jsonschema\n\
        refused = 0\n\
        for path in sorted(pathlib.Path('tests/fixtures/bad').glob('*.toml')):\n\
        \x20   name = 'config' if path.name.startswith('config-') else 'journey'\n\
        \x20   schema = json.loads(pathlib.Path(f'config/schema/{name}.json').read_text())\n\
        \x20   try: file = tomllib.loads(path.read_text())\n\
        \x20   except tomllib.TOMLDecodeError: continue\n\
        \x20   errors = list(jsonschema.Draft202012Validator(schema).iter_errors(file))\n\
        \x20   refused += bool(errors)\n\
        \x20   if errors and not path.with_suffix('.err').read_text().startswith('exit 2'):\n\
        \x20       print(path.name, [e.json_path + ': ' + e.message[:90] for e in errors[:2]])\n\
        print(refused)\n";
    let output = Command::new(&python).args(["-c", script]).current_dir(root()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let refused: usize =
        text.trim().parse().unwrap_or_else(|_| panic!("the schema refuses what check accepts: {text}"));
    assert!(refused >= 30, "{refused} of the mistakes are seen by the schema alone");
}
