//! A folder of one test, which is gone when the test is over.

use std::ops::Deref;
use std::path::{Path, PathBuf};

/// The folder; its name is the process's and the test's own.
#[derive(Debug)]
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    /// Its place; nothing is there yet.
    pub(crate) fn free(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ng-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Self::free(name);
        std::fs::create_dir_all(&folder.0).unwrap();
        folder
    }
}

impl Deref for TestFolder {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for TestFolder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
