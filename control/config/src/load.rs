//! The file, its checks and its key, in one go.

use crate::diagnostic::Report;
use crate::key::{Key, read_key};
use crate::model::Config;
use crate::table::{At, Table};
use crate::{check, read};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Largest file: 128 nodes and 64 services need a tenth of it.
const FILE_MAX: u64 = 1 << 20;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The cluster's key.
    pub key: Key,
    /// Warnings; may be empty.
    pub warnings: Report,
}

/// Reads and checks the file and its key. The error holds everything that is wrong.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let text = read_text(path)?;
    let (config, mut report, key_file) = examine(&name, &text, folder(path));
    let key = key_file.and_then(|at| match read_key(&at.value) {
        Ok(key) => Some(key),
        Err(fault) => {
            report.error(at.span, fault.to_string(), fault.remedy());
            report.sort();
            None
        }
    });
    match (config, key) {
        (Some(config), Some(key)) => Ok(Loaded { config, key, warnings: report }),
        _ => Err(report),
    }
}

/// The same on a machine that has no key: for a check before the file is rolled out.
pub fn load_without_key(path: &Path) -> Result<(Config, Report), Report> {
    let text = read_text(path)?;
    let (config, report, _) = examine(&path.display().to_string(), &text, folder(path));
    config.map(|config| (config, report.clone())).ok_or(report)
}

/// Checks a text. `name` is what the report calls it; relative paths stay as they are.
pub fn parse(name: &str, text: &str) -> Result<(Config, Report), Report> {
    let (config, report, _) = examine(name, text, Path::new(""));
    config.map(|config| (config, report.clone())).ok_or(report)
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new(""))
}

/// Reads the text of a file, without a look at what it says.
pub fn read_text(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let fault = |message: String, remedy: &str| Report::placeless(&name, message, remedy.into());
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => fault(
            "there is no such file".into(),
            "give the right path; README.md has an example to begin with",
        ),
        io::ErrorKind::PermissionDenied => {
            fault(format!("cannot be read: {cause}"), "run as root, or as a user that may read it")
        }
        _ => fault(format!("cannot be read: {cause}"), "give the path of a plain text file"),
    };
    // A FIFO would make open() wait for ever.
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(unreadable(io::Error::other("it is not a plain file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        let message = format!("is longer than {FILE_MAX} bytes");
        return Err(fault(message, "give the path of netguard.toml"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let message = format!("line {line} is not UTF-8 text");
        fault(message, "save the file as UTF-8")
    })
}

type Examined = (Option<Config>, Report, Option<At<PathBuf>>);

fn examine(name: &str, text: &str, folder: &Path) -> Examined {
    let mut report = Report::new(name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = format!("this is no TOML: {}", error.message());
        let remedy = "correct the line: name = value, text in double quotes, lists in [ ]";
        report.broken(error.span().unwrap_or(0..0), message, remedy);
    }
    let raw = read::read(Table::new("", 0..0, document.get_ref()), folder, &mut report);
    if !report.is_broken() {
        check::check(&raw, &mut report);
    }
    report.sort();
    let key_file = raw.cluster.key_file.clone();
    if report.has_errors() {
        return (None, report, key_file);
    }
    let config = raw.build();
    if config.is_none() {
        // Every missing part is told where it is missed; this guards against a part that is not.
        report.error(0..0, "the configuration is incomplete", "report this as a defect");
    }
    (config, report, key_file)
}
