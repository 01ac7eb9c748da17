//! The tree that the tests are built from: pages and sources are held against each other.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Returns the text of a page, by its path in the workspace.
#[track_caller]
pub fn page(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the text of a source, or of all sources in a folder.
pub fn sources(path: &Path) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("a source is text");
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_source = |path: &PathBuf| match path.is_dir() {
        true => !path.ends_with("target"),
        false => path.extension().is_some_and(|extension| extension == "rs"),
    };
    entries.filter(is_source).map(|path| sources(&path)).collect()
}
