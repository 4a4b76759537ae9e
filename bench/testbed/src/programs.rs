//! Where the programs are that a bed runs.

use crate::error::{BedError, Result};
use std::path::{Path, PathBuf};

/// The folder of the product's programs.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Those of `dir`; without one, those beside the running program (tests are built one folder
    /// deeper).
    #[must_use]
    pub fn find(dir: Option<&Path>) -> Self {
        if let Some(dir) = dir {
            return Self { dir: dir.to_owned() };
        }
        let own = std::env::current_exe().unwrap_or_default();
        let own = own.parent().unwrap_or(Path::new("."));
        let dir = if own.ends_with("deps") { own.parent().unwrap_or(own) } else { own };
        Self { dir: dir.to_owned() }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program.
    ///
    /// # Errors
    /// When it is not there.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let dir = self.dir.display().to_string();
        Err(BedError::MissingProgram { name: name.to_owned(), dir })
    }
}
