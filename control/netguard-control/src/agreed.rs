//! The agreed document and the file: which of them says what.
//!
//! Once something was agreed, the agreed document says what all nodes must have in common. The file of `--config` then says
//! only what may differ from node to node: `[local]`, and where the key is. A file that is damaged or gone keeps no node
//! from starting; one that says something else is told.

use config::{Config, DOCUMENT_MAX, Loaded, Report};
use std::path::Path;
use wire::{Configuration, NodeId, NodeSet};

/// Name of the agreed document in the reports about it.
pub const NAME: &str = "the agreed configuration";

/// What a life begins with.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The configuration, the key, warnings.
    pub loaded: Loaded,
    /// The text of what all nodes have in common, without `[local]`.
    pub text: String,
    /// The file, compared with what is agreed.
    pub file: OwnFile,
}

/// The file of `--config`, as far as it can be compared with what is agreed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnFile {
    /// Its path.
    pub path: String,
    /// Hash of what it says for all nodes, or why it cannot be used.
    pub hash: Result<u64, String>,
}

impl OwnFile {
    /// What the operator should know, if the file is not what is agreed.
    #[must_use]
    pub fn differs(&self, agreed: u64) -> Option<String> {
        let path = &self.path;
        match &self.hash {
            Ok(hash) if *hash == agreed => None,
            Ok(_) => Some(format!(
                "{path} says something else than what was agreed: only its [local] is used"
            )),
            Err(why) => Some(format!(
                "{path} cannot be used ({why}): what was agreed is used, without a [local]"
            )),
        }
    }
}

/// Reads the file, and puts the agreed document, if there is one, in the place of what the file says for all. A node that
/// the agreed document does not have was removed, or is to come back: then its file says what it is.
pub fn sources(file: &Path, node: &str, agreed: Option<&[u8]>) -> Result<Sources, Report> {
    let path = file.display().to_string();
    let own = config::load(file);
    let Some(agreed) = agreed else {
        let loaded = own?;
        let hash = Ok(loaded.config.config_hash());
        return Ok(Sources { loaded, text: shared_text(file)?, file: OwnFile { path, hash } });
    };
    let text = String::from_utf8_lossy(agreed).into_owned();
    let (config, warnings) = config::parse(NAME, &text)?;
    match own {
        Ok(loaded) if config.for_node(node).is_err() && loaded.config.for_node(node).is_ok() => {
            let hash = Ok(loaded.config.config_hash());
            Ok(Sources { loaded, text: shared_text(file)?, file: OwnFile { path, hash } })
        }
        Ok(own) => {
            let hash = Ok(own.config.config_hash());
            Ok(Sources {
                loaded: with_own(config, own, warnings),
                text,
                file: OwnFile { path, hash },
            })
        }
        Err(report) => {
            // The key must come from somewhere; the agreed place is the next best.
            let folder = file.parent().unwrap_or_else(|| Path::new(""));
            let Ok(key) = config::read_key(&folder.join(&config.cluster.key_file)) else {
                return Err(report);
            };
            let first = report.diagnostics.first().map(|it| it.message.clone());
            let file = OwnFile { path, hash: Err(first.unwrap_or_default()) };
            Ok(Sources { loaded: Loaded { config, key, warnings }, text, file })
        }
    }
}

/// The text of a file as it can be agreed on.
fn shared_text(file: &Path) -> Result<String, Report> {
    let text = config::read_text(file)?;
    // What could be read as a configuration can be read as a document.
    let shared = config::without_local(&text).unwrap_or(text);
    if shared.len() > DOCUMENT_MAX {
        let message = format!("it is longer than the {DOCUMENT_MAX} bytes that can be agreed on");
        return Err(Report::about(
            &file.display().to_string(),
            message,
            "remove comments, or services",
        ));
    }
    Ok(shared)
}

/// The agreed configuration with what the own file says for this node alone.
fn with_own(mut config: Config, own: Loaded, warnings: Report) -> Loaded {
    config.local = own.config.local;
    config.cluster.key_file = own.config.cluster.key_file;
    Loaded { config, key: own.key, warnings }
}

/// What the cores are told of a document: version 0 is a file's, another one is an entry's that is to be.
#[must_use]
pub fn configuration(config: &Config, text: &str, version: u32, level: u16) -> Configuration {
    let nodes = |wanted: fn(&config::Node) -> bool| -> NodeSet {
        config
            .nodes
            .iter()
            .filter(|node| wanted(node))
            .filter_map(|node| NodeId::new(node.id))
            .collect()
    };
    let interval_us = config.cluster.heartbeat_interval.as_micros();
    Configuration {
        version,
        nodes: nodes(|_| true),
        voters: nodes(|node| node.vote),
        witnesses: nodes(|node| node.witness),
        interval_us: u32::try_from(interval_us).unwrap_or(u32::MAX),
        misses: config.cluster.heartbeat_misses,
        level,
        digest: config.config_hash(),
        document: text.as_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Sources, configuration, sources};
    use crate::test_folder::TestFolder;
    use config::Report;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    const TEXT: &str = "[cluster]\nname = \"t\"\nkey_file = \"key\"\n[[link]]\nname = \"a\"\nmode = \"unicast\"\n\
        port = 5800\n[[node]]\nid = 1\nname = \"n1\"\naddresses = [\"10.0.0.1\"]\n[[node]]\nid = 2\nname = \"n2\"\n\
        addresses = [\"10.0.0.2\"]\n[[node]]\nid = 3\nname = \"n3\"\naddresses = [\"10.0.0.3\"]\nwitness = true\n";

    fn folder(name: &str) -> TestFolder {
        let folder = TestFolder::new(&format!("agreed-{name}"));
        let key = folder.join("key");
        fs::write(&key, format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.join("netguard.toml"), format!("{TEXT}[local]\ncore = \"none\"\n"))
            .unwrap();
        folder
    }

    fn read(folder: &Path, agreed: Option<&str>) -> Result<Sources, Report> {
        sources(&folder.join("netguard.toml"), "n2", agreed.map(str::as_bytes))
    }

    fn differs(read: &Sources) -> Option<String> {
        read.file.differs(read.loaded.config.config_hash())
    }

    #[test]
    fn before_anything_is_agreed_the_file_says_all() {
        let folder = folder("file");
        let first = read(&folder, None).unwrap();
        assert_eq!(first.loaded.config.local.core, config::Core::None);
        assert_eq!(first.text, TEXT, "[local] is nobody else's business");
        assert_eq!(differs(&first), None);
        fs::write(folder.join("netguard.toml"), format!("{TEXT}# {}\n", "x".repeat(64 << 10)))
            .unwrap();
        assert!(read(&folder, None).unwrap_err().to_string().contains("65536"));
    }

    #[test]
    fn what_was_agreed_wins_and_the_file_keeps_what_is_local() {
        let folder = folder("agreed");
        let agreed = TEXT.replace("5800", "5900");
        let other = read(&folder, Some(&agreed)).unwrap();
        assert_eq!(other.loaded.config.links[0].port, 5900);
        assert_eq!(other.loaded.config.local.core, config::Core::None);
        assert_eq!(other.text, agreed);
        assert!(differs(&other).unwrap().contains("says something else"));
        assert_eq!(differs(&read(&folder, Some(TEXT)).unwrap()), None);
    }

    #[test]
    fn who_is_not_in_the_agreed_document_goes_by_its_file() {
        let folder = folder("removed");
        let agreed = TEXT.replace("name = \"n2\"", "name = \"other\"");
        let back = read(&folder, Some(&agreed)).unwrap();
        assert_eq!((back.loaded.config.nodes.len(), back.text.as_str()), (3, TEXT));
        fs::write(folder.join("netguard.toml"), &agreed).unwrap();
        assert!(
            read(&folder, Some(&agreed)).unwrap().loaded.config.for_node("n2").is_err(),
            "nobody knows it"
        );
    }

    #[test]
    fn a_broken_file_keeps_no_node_from_starting_but_a_missing_key_does() {
        let folder = folder("broken");
        fs::write(folder.join("netguard.toml"), "[cluster\n").unwrap();
        let broken = read(&folder, Some(TEXT)).unwrap();
        assert_eq!(broken.loaded.config.nodes.len(), 3);
        assert!(differs(&broken).unwrap().contains("cannot be used"));
        assert!(read(&folder, None).is_err());
        fs::remove_file(folder.join("key")).unwrap();
        assert!(read(&folder, Some(TEXT)).is_err());
        assert!(read(&folder, Some("not a document")).is_err());
    }

    #[test]
    fn the_cores_get_the_sets_of_the_document() {
        let text = format!(
            "{TEXT}[[node]]\nid = 4\nname = \"n4\"\naddresses = [\"10.0.0.4\"]\nvote = false\n"
        );
        let config = config::parse("t", &text).unwrap().0;
        let told = configuration(&config, &text, 7, 1);
        assert_eq!((told.nodes.len(), told.voters.len(), told.witnesses.len()), (4, 3, 1));
        assert_eq!((told.version, told.interval_us, told.misses), (7, 10_000, 3));
        assert_eq!((told.digest, &told.document[..]), (config.config_hash(), text.as_bytes()));
    }
}
