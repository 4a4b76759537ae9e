//! Files on disk: the configuration's and the key's.

use ng_config::{Report, load, load_without_key};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const GOOD: &str = include_str!("../testdata/good.toml");
const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

/// A folder of its own for each test, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ng-config-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
    fn config(&self, text: &str) -> PathBuf {
        let path = self.0.join("netguard.toml");
        fs::write(&path, text).expect("writable");
        path
    }
    fn key(&self, text: &str, mode: u32) {
        let path = self.0.join("cluster.key");
        fs::write(&path, text).expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("own file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn relative() -> String {
    GOOD.replace("/etc/netguard/cluster.key", "cluster.key")
}

fn fault(path: &Path) -> Report {
    load(path).expect_err("it must be refused")
}

#[test]
fn a_relative_key_counts_from_the_files_folder() {
    let folder = Folder::new("relative");
    folder.key(DIGITS, 0o600);
    let loaded = load(&folder.config(&relative())).unwrap();
    assert_eq!(loaded.key.0[31], 0x1f);
    assert_eq!(loaded.config.cluster.key_file, folder.0.join("cluster.key"));
    assert!(!format!("{loaded:?}").contains("30, 31"), "a key is never printed");
}

#[test]
fn a_key_that_all_can_read_is_refused_where_it_is_named() {
    let folder = Folder::new("open");
    folder.key(DIGITS, 0o644);
    let report = fault(&folder.config(&relative()));
    assert_eq!(report.diagnostics.len(), 1);
    let found = &report.diagnostics[0];
    assert_eq!((found.line, found.column), (4, 12));
    assert!(found.message.contains("every user (mode 0644)"), "{}", found.message);
    assert!(found.remedy.starts_with("chmod 0600 "), "{}", found.remedy);
    folder.key(DIGITS, 0o640);
    assert!(load(&folder.0.join("netguard.toml")).is_ok(), "a group may read it");
}

#[test]
fn the_key_is_looked_at_in_the_same_run_as_the_rest() {
    let folder = Folder::new("both");
    let path = folder.config(&relative().replace("misses = 3", "misses = 99"));
    let messages: Vec<String> =
        fault(&path).diagnostics.into_iter().map(|found| found.message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("does not exist"));
    assert!(messages[1].contains("heartbeat_misses"));
    let path = folder.config(&relative());
    assert!(load_without_key(&path).is_ok(), "another machine need not have the key");
}

#[test]
fn what_is_no_configuration_file_is_told_in_one_line() {
    let folder = Folder::new("nofile");
    for (path, message) in [
        (folder.0.join("none.toml"), "no such file"),
        (folder.0.clone(), "not a plain file"),
        (PathBuf::from("/dev/zero"), "not a plain file"),
    ] {
        let report = fault(&path);
        assert_eq!(report.diagnostics.len(), 1);
        assert!(report.diagnostics[0].message.contains(message), "{report}");
        assert!(report.to_string().starts_with(&format!("{}: error: ", path.display())));
    }
    let path = folder.0.join("bytes.toml");
    fs::write(&path, b"a = 1\nb = \"\xff\"\n").expect("writable");
    assert!(fault(&path).to_string().contains("line 2 is not UTF-8"));
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("writable");
    assert!(fault(&path).to_string().contains("longer than"));
}
