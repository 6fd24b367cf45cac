//! Fragments on disk: found relative to the file that names them, kept within the folder of the journeys.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::config::files::{Files, folder, normalise};
use crate::diag::{Diagnostic, Findings, Place, SourceFile};
use crate::document::Text;
use crate::journey::link::Library;
use crate::journey::parse::{FragmentFile, parse_fragment};
use crate::journey::request::Attached;

pub struct FolderLibrary<'a> {
    pub files: &'a Files,
    /// What fragments may not leave, symlinks resolved.
    pub root: PathBuf,
    pub known: RefCell<HashMap<PathBuf, Arc<FragmentFile>>>,
}

impl Library for FolderLibrary<'_> {
    fn fragment(&self, from: &Arc<SourceFile>, path: &Text, findings: &Findings) -> Option<Arc<FragmentFile>> {
        let place = Place { file: Arc::clone(from), span: path.span.clone() };
        let name = normalise(&folder(Path::new(&from.name)).join(&path.value));
        let real = match self.files.real(&name) {
            Ok(real) => real,
            Err(error) => {
                findings.push(
                    Diagnostic::error(place, format!("the fragment {} cannot be read", name.display()))
                        .label(error.to_string())
                        .help("the path is relative to the file that names it"),
                );
                return None;
            }
        };
        if !real.starts_with(&self.root) {
            findings.push(
                Diagnostic::error(place, format!("the fragment {} lies outside the journeys' folder", name.display()))
                    .label(format!("must be below {}", self.root.display())),
            );
            return None;
        }
        if let Some(known) = self.known.borrow().get(&real) {
            return Some(Arc::clone(known));
        }
        let text = match self.files.read(&real) {
            Ok(text) => text,
            Err(error) => {
                findings.push(
                    Diagnostic::error(place, format!("the fragment {} cannot be read", name.display()))
                        .label(error.to_string()),
                );
                return None;
            }
        };
        let file = SourceFile::new(name.display().to_string(), text);
        let fragment = Arc::new(parse_fragment(&file, findings));
        self.known.borrow_mut().insert(real, Arc::clone(&fragment));
        Some(fragment)
    }

    fn bytes(&self, file: &Attached, kept_in: bool, findings: &Findings) -> Option<Bytes> {
        let name = normalise(&folder(Path::new(&file.place.file.name)).join(&file.path.value));
        let refuse = |label: String| {
            let message = format!("the file {} cannot be read", name.display());
            findings.push(
                Diagnostic::error(file.place.clone(), message)
                    .label(label)
                    .help("the path is relative to the file that names it"),
            );
            None
        };
        let real = match self.files.real(&name) {
            Ok(real) => real,
            Err(error) => return refuse(error.to_string()),
        };
        if kept_in && !real.starts_with(&self.root) {
            return refuse(format!("it lies outside the journeys' folder, {}", self.root.display()));
        }
        match self.files.bytes(&real) {
            Ok(bytes) => Some(bytes.into()),
            Err(error) => refuse(error.to_string()),
        }
    }
}
