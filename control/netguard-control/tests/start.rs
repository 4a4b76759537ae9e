//! What an operator sees when a start cannot succeed: one message with its remedy, the documented
//! exit code, and nothing changed. Needs no root and no network but the loopback's addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Bench(PathBuf);

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ng-start-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("run")).unwrap();
        let bench = Self(dir);
        bench.write("key", &"0123456789abcdef".repeat(4));
        fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        bench.write("netguard.toml", CONFIG);
        bench
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
    fn run(&self, node: &str, more: &[&str]) -> (i32, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_netguard-control"))
            .arg("--config")
            .arg(self.path("netguard.toml"))
            .args(["--node", node, "--run-dir"])
            .arg(self.path("run"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }
    fn untouched(&self) -> bool {
        !self.path("state").exists() && is_empty(&self.path("run"))
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

const CONFIG: &str = r#"
[cluster]
name = "start-test"
key_file = "key"
[[link]]
name = "only"
mode = "unicast"
port = 45800
[[node]]
id = 1
name = "here"
addresses = ["127.0.0.1"]
[[node]]
id = 2
name = "there"
addresses = ["198.51.100.2"]
[[node]]
id = 3
name = "elsewhere"
addresses = ["198.51.100.3"]
"#;

#[test]
fn started_by_hand_it_says_who_starts_it() {
    let bench = Bench::new("hand");
    let (code, text) = bench.run("here", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--map-fd is missing") && text.contains("start netguard-fast"), "{text}");
    assert!(bench.untouched());
}

#[test]
fn descriptors_that_are_none_are_named() {
    let bench = Bench::new("descriptor");
    let more = ["--map-fd", "77", "--event-fd", "78", "--setup-fd", "79"];
    let (code, text) = bench.run("here", &more);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--map-fd: Bad file descriptor"), "{text}");
    assert!(bench.untouched());
}

#[test]
fn another_nodes_name_is_answered_with_the_right_one() {
    let bench = Bench::new("name");
    let (code, text) = bench.run("there", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("198.51.100.2") && text.contains("--node here"), "{text}");
    let (code, text) = bench.run("thera", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("did you mean \"there\""), "{text}");
    assert!(bench.untouched());
}

#[test]
fn every_fault_of_the_file_is_told_at_once() {
    let bench = Bench::new("file");
    bench.write("netguard.toml", &CONFIG.replace("id = 2", "id = 1").replace("unicast", "unicorn"));
    let (code, text) = bench.run("here", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("unicorn") && text.contains("id"), "{text}");
    assert!(bench.untouched());
}

#[test]
fn a_key_that_all_may_read_is_refused() {
    let bench = Bench::new("key");
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, text) = bench.run("here", &[]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("key"), "{text}");
    assert!(bench.untouched());
}
