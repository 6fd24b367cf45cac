//! Where configuration texts come from: the disk, or what is embedded in the binary.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Component, Path, PathBuf};

/// More than a person writes.
const MAX_FILE: u64 = 4 << 20;

/// A set of files.
pub enum Files {
    /// With a record of what was looked at.
    Disk(Record),
    /// Path and text, for `journeyd demo`.
    Embedded(&'static [(&'static str, &'static str)]),
}

/// What a load looked at, so that a change can be noticed.
#[derive(Debug, Default)]
pub struct Record {
    files: RefCell<BTreeMap<PathBuf, u64>>,
    patterns: RefCell<BTreeMap<PathBuf, u64>>,
}

impl Record {
    fn note(&self, path: &Path, content: &io::Result<Vec<u8>>) {
        self.files.borrow_mut().insert(path.to_owned(), digest(content));
    }

    /// What to look at from now on.
    pub fn into_watched(self) -> Watched {
        Watched { files: self.files.into_inner(), patterns: self.patterns.into_inner() }
    }
}

/// Files and patterns with what they held when they were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    files: BTreeMap<PathBuf, u64>,
    patterns: BTreeMap<PathBuf, u64>,
}

impl Watched {
    /// The same with what they hold now. By content: a ConfigMap is a link that turns to another folder.
    pub fn now(&self) -> Self {
        Self {
            files: self.files.keys().map(|path| (path.clone(), digest(&read_disk(path)))).collect(),
            patterns: self.patterns.keys().map(|path| (path.clone(), digest_of_names(&matching_disk(path)))).collect(),
        }
    }
}

fn digest(content: &io::Result<Vec<u8>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match content {
        Ok(bytes) => bytes.hash(&mut hasher),
        Err(error) => error.kind().hash(&mut hasher),
    }
    hasher.finish()
}

fn digest_of_names(names: &Result<Vec<PathBuf>, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

fn read_disk(path: &Path) -> io::Result<Vec<u8>> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "larger than 4 MiB"));
    }
    std::fs::read(path)
}

const MATCHING: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

fn matching_disk(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let found = glob::glob_with(&pattern.to_string_lossy(), MATCHING).map_err(|e| e.msg.to_owned())?;
    let found: Vec<PathBuf> = found.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    // A dangling link is a file that cannot be read, and told as one.
    Ok(found.into_iter().filter(|p| !p.is_dir()).collect())
}

impl Files {
    /// The disk, with nothing looked at yet.
    pub fn disk() -> Self {
        Self::Disk(Record::default())
    }

    pub fn read(&self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.bytes(path)?).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 (at byte {at})"))
        })
    }

    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Self::Disk(record) => {
                let content = read_disk(path);
                record.note(path, &content);
                content
            }
            Self::Embedded(files) => files
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Paths that match a pattern, sorted.
    pub fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        match self {
            Self::Disk(record) => {
                let found = matching_disk(pattern);
                record.patterns.borrow_mut().insert(pattern.to_owned(), digest_of_names(&found));
                found
            }
            Self::Embedded(files) => {
                let pattern = glob::Pattern::new(&pattern.to_string_lossy()).map_err(|e| e.msg.to_owned())?;
                let names = files.iter().map(|(name, _)| PathBuf::from(name));
                Ok(names.filter(|name| pattern.matches_path_with(name, MATCHING)).collect())
            }
        }
    }

    /// The real place of a path, symlinks resolved.
    pub fn real(&self, path: &Path) -> io::Result<PathBuf> {
        match self {
            Self::Disk(_) => std::fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path }),
            Self::Embedded(_) => Ok(normalise(path)),
        }
    }
}

/// `config/../journeys/a.toml` as people would write it: `journeys/a.toml`. Only for names; symlinks are not
/// looked at.
pub fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The folder of a file, never empty.
pub fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// The part of a pattern before its first wildcard: the folder that fragments must stay in.
pub fn fixed_folder(pattern: &Path) -> PathBuf {
    let is_wild = |c: &Component<'_>| c.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = pattern.components().take_while(|c| !is_wild(c)).collect();
    if fixed == pattern { folder(pattern).to_owned() } else { fixed }
}

/// The process environment, read once. Values that are not UTF-8 are left out.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_detours() {
        for (path, want) in [
            ("config/../journeys/a.toml", "journeys/a.toml"),
            ("./a/./b", "a/b"),
            ("../x", "../x"),
            ("../../x", "../../x"),
            ("/etc/../x", "/x"),
        ] {
            assert_eq!(normalise(Path::new(path)), Path::new(want), "{path}");
        }
    }

    #[test]
    fn the_fixed_folder_of_a_pattern_ends_before_its_first_wildcard() {
        for (pattern, want) in [("journeys/*.toml", "journeys"), ("j/*/x.toml", "j"), ("j/a.toml", "j"), ("*.toml", "")]
        {
            assert_eq!(fixed_folder(Path::new(pattern)), Path::new(want), "{pattern}");
        }
    }
}
