//! A knob for tests: other settings while the daemon runs, for this node alone and without an agreed entry. The file that
//! the environment names is taken when it is there, once, and removed.

use config::Config;
use std::fs;
use std::path::PathBuf;

/// The environment variable that names the file.
pub const VARIABLE: &str = "NETGUARD_TEST_CONFIGURE";

/// Where the file may come to be, if this is a test.
#[derive(Debug)]
pub struct Rehearsal(Option<PathBuf>);

impl Rehearsal {
    /// As the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(std::env::var_os(VARIABLE).map(PathBuf::from))
    }

    /// The configuration that came since the last call.
    pub fn take(&self) -> Option<Result<Config, String>> {
        let path = self.0.as_ref()?;
        let text = fs::read_to_string(path).ok()?;
        if let Err(e) = fs::remove_file(path) {
            return Some(Err(e.to_string()));
        }
        let parsed = config::parse(&path.display().to_string(), &text);
        Some(parsed.map(|(config, _)| config).map_err(|e| e.to_string()))
    }
}
