//! The program itself: exit codes, and that every command has one JSON object.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::JoinHandle;

/// A folder of its own for each test, gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ng-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ng(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ng")).args(args).output().expect("ng runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn object(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "one object on one line: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// A daemon that answers each connection's requests, in order, with these bodies.
fn daemon(folder: &Folder, connections: &[&[&str]]) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(folder.0.join("control.sock")).expect("a socket");
    let bodies: Vec<Vec<String>> =
        connections.iter().map(|one| one.iter().map(|body| (*body).to_owned()).collect()).collect();
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        let mut open = Vec::new();
        for connection in bodies {
            let (mut stream, _) = listener.accept().expect("ng connects");
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let mut line = String::new();
            reader.read_line(&mut line).expect("a request");
            for body in connection {
                writeln!(stream, "{{\"version\":1,\"id\":1,{body}}}").expect("ng reads");
            }
            asked.push(line);
            open.push(stream);
        }
        asked
    })
}

/// A daemon that answers every request of each connection, one body for each line, by its id.
fn talker(folder: &Folder, connections: &[&[String]]) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(folder.0.join("control.sock")).expect("a socket");
    let bodies: Vec<Vec<String>> = connections.iter().map(|one| one.to_vec()).collect();
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        let mut streams = Vec::new();
        // The connections are made in turn, but asked in any order: a thread for each.
        let mut threads = Vec::new();
        for connection in bodies {
            let (mut stream, _) = listener.accept().expect("ng connects");
            threads.push(std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let mut lines = Vec::new();
                for body in connection {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    let id = serde_json::from_str::<Value>(&line).expect("JSON")["id"].clone();
                    writeln!(stream, "{{\"version\":1,\"id\":{id},{body}}}").expect("ng reads");
                    lines.push(line);
                }
                (lines, stream)
            }));
        }
        for thread in threads {
            let (lines, stream) = thread.join().expect("the daemon lives");
            streams.push(stream);
            asked.extend(lines);
        }
        asked
    })
}

const DOCUMENT: &str = "[cluster]\nname = \"demo\"\nkey_file = \"k\"\n# kept\n[[link]]\nname = \"a\"\nmode = \"unicast\"\n\
    port = 5800\n[[node]]\nid = 1\nname = \"n1\"\naddresses = [\"10.0.0.1\"]\n[[node]]\nid = 2\nname = \"n2\"\n\
    addresses = [\"10.0.0.2\"]\n[[node]]\nid = 3\nname = \"n3\"\naddresses = [\"10.0.0.3\"]\nwitness = true\n";

/// The answers to `configuration` and `status` of three that vote, at a version, with what is pending.
fn agreed(version: u64, pending: &[&str]) -> [String; 2] {
    let pending: Vec<Value> = pending
        .iter()
        .map(|node| serde_json::json!({"node": node, "gives": true, "why": "it has not joined"}))
        .collect();
    let configuration = serde_json::json!({
        "version": version, "hash": "0", "voters": ["n1", "n2", "n3"], "wanted": ["n1", "n2", "n3"], "pending": pending
    });
    let member = |id: u8| serde_json::json!({"id": id, "name": format!("n{id}"), "state": "member", "voter": true});
    let status = serde_json::json!({
        "kind": "status", "cluster": "demo", "node": "n1", "quorum": {"held": true}, "configuration": configuration,
        "members": [member(1), member(2), member(3)], "agreement": {"primary": "n1", "role": "primary"}
    });
    let mut document = configuration;
    document["kind"] = "configuration".into();
    document["node"] = "n1".into();
    document["document"] = DOCUMENT.into();
    [format!("\"answer\":{document}"), format!("\"answer\":{status}")]
}

#[test]
fn a_change_is_shown_before_it_is_sent_and_waited_for_afterwards() {
    let folder = Folder::new("change");
    let run_dir = folder.path("");
    let [document, before] = agreed(7, &[]);
    let done = "\"answer\":{\"kind\":\"configured\",\"version\":8,\"hash\":\"1\"}".to_owned();
    let [_, waits] = agreed(8, &["n4"]);
    let [_, after] = agreed(9, &[]);
    let orders = [document, before, done, waits, after];
    let watching = ["\"answer\":{\"kind\":\"watching\"}".to_owned()];
    let daemon = talker(&folder, &[&orders, &watching]);
    let words = ["node", "add", "n4", "--address", "10.0.0.4", "--yes"];
    let added = ng(&[&["--run-dir", run_dir.as_str(), "--json"], &words[..]].concat());
    let shown = object(&added);
    assert_eq!(code(&added), 0, "{shown}");
    assert_eq!((&shown["base"], &shown["possible"]), (&Value::from(7), &Value::from(true)));
    assert_eq!(shown["steps"][0]["subject"], "node n4");
    assert_eq!(
        (&shown["applied"]["version"], &shown["applied"]["pending"]),
        (&Value::from(8), &serde_json::json!([]))
    );
    let asked = daemon.join().expect("served");
    let order: Value = serde_json::from_str(&asked[2]).expect("JSON");
    assert_eq!(
        (&order["request"]["kind"], &order["request"]["base"]),
        (&Value::from("configure"), &Value::from(7))
    );
    let sent = order["request"]["document"].as_str().expect("a text");
    assert!(sent.contains("# kept") && sent.contains("id = 4\nname = \"n4\""), "{sent}");
}

#[test]
fn a_plan_that_is_refused_is_not_sent_and_nobody_applies_by_accident() {
    let folder = Folder::new("refused");
    let run_dir = folder.path("");
    let file = folder.path("netguard.toml");
    let refused = agreed(7, &[]);
    let same = agreed(7, &[]);
    let unasked = agreed(7, &[]);
    let daemon = talker(&folder, &[&refused, &same, &unasked]);
    let go = |words: &[&str]| ng(&[&["--run-dir", run_dir.as_str()], words].concat());
    fs::write(&file, DOCUMENT.replace("\"demo\"", "\"other\"")).expect("writable");
    let shown = go(&["config", "apply", &file, "--yes"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(code(&shown), 1, "{text}");
    assert!(
        text.contains("REFUSED: the cluster's name cannot change")
            && text.ends_with("nothing is changed\n"),
        "{text}"
    );
    fs::write(&file, format!("{DOCUMENT}# more words\n[local]\ncore = 1\n")).expect("writable");
    let nothing = go(&["config", "diff", &file]);
    let text = String::from_utf8_lossy(&nothing.stdout).into_owned();
    assert_eq!(
        (code(&nothing), text.as_str()),
        (0, "nothing to change: version 7 means the same\n")
    );
    fs::write(&file, DOCUMENT.replace("key_file", "heartbeat_misses = 4\nkey_file"))
        .expect("writable");
    let unasked = go(&["config", "apply", &file]);
    assert_eq!(code(&unasked), 2, "without a terminal somebody must say --yes");
    let told = String::from_utf8_lossy(&unasked.stderr).into_owned();
    assert!(told.contains("misses 3 -> 4") && told.contains("--yes"), "{told}");
    daemon.join().expect("only questions were asked");
    assert_eq!(code(&ng(&["cluster", "override", "--absent", "n2,n3"])), 2);
}

#[test]
fn the_agreed_document_is_printed_as_it_is() {
    let folder = Folder::new("show");
    let run_dir = folder.path("");
    let [document, _] = agreed(7, &["n4"]);
    let daemon =
        talker(&folder, &[std::slice::from_ref(&document), std::slice::from_ref(&document)]);
    let plain = ng(&["--run-dir", &run_dir, "config", "show", "--plain"]);
    assert_eq!((code(&plain), String::from_utf8_lossy(&plain.stdout).as_ref()), (0, DOCUMENT));
    let shown = ng(&["--run-dir", &run_dir, "config", "show"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.starts_with("version 7, hash 0, as n1 knows it\nvotes in force: n1, n2, n3\n"),
        "{text}"
    );
    assert!(
        text.contains("n4 waits for its vote: it has not joined")
            && text.ends_with("witness = true\n"),
        "{text}"
    );
    daemon.join().expect("served");
}

const FINE: &str = r#""answer":{"kind":"status","cluster":"demo","node":"n1","quorum":{"held":true},
    "services":[{"name":"vip","phase":"running","owner":"n1"}]}"#;

fn one_line(body: &str) -> String {
    body.split('\n').map(str::trim).collect()
}

#[test]
fn status_answers_with_its_exit_code() {
    let folder = Folder::new("status");
    let fine = one_line(FINE);
    let failed = fine.replace("running", "failed");
    let daemon = daemon(&folder, &[&[&fine], &[&failed], &[&fine]]);
    let run_dir = folder.path("");
    let first = ng(&["--run-dir", &run_dir, "status"]);
    assert_eq!(code(&first), 0);
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(text.starts_with("demo: fine"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");
    let second = ng(&["status", "--run-dir", &run_dir, "-o", "json"]);
    assert_eq!(code(&second), 1);
    assert_eq!(object(&second)["fine"], false);
    let third = ng(&["--socket", &folder.path("control.sock"), "-o", "json", "status"]);
    assert_eq!(object(&third)["fine"], true);
    let asked = daemon.join().expect("the daemon saw all three");
    assert!(asked.iter().all(|line| line.contains("{\"kind\":\"status\"}")), "{asked:?}");
}

#[test]
fn json_is_short_for_its_form_and_the_doctor_listens_for_a_while() {
    let folder = Folder::new("json");
    let fine = one_line(FINE);
    let daemon = daemon(&folder, &[&[&fine]]);
    let short = ng(&["--run-dir", &folder.path(""), "status", "--json"]);
    assert_eq!(object(&short)["fine"], true);
    daemon.join().expect("the daemon saw it");
    assert_eq!(code(&ng(&["status", "--json", "-o", "text"])), 2);
    assert_eq!(code(&ng(&["doctor", "--listen", "0"])), 2);
}

#[test]
fn an_order_is_carried_and_a_refusal_explained() {
    let folder = Folder::new("orders");
    let moved = r#""answer":{"kind":"moved","service":"vip","from":"n1","to":"n2","op":22}"#;
    let refused = r#""error":{"code":"no-quorum","message":"1 of 2 votes","remedy":"bring n2"}"#;
    let denied = r#""error":{"code":"permission","message":"no","remedy":"be root"}"#;
    let off = r#""answer":{"kind":"confirmed-off","node":"n2","life":4,"op":23}"#;
    let daemon = daemon(&folder, &[&[moved], &[refused], &[refused], &[denied], &[off]]);
    let run_dir = folder.path("");
    let go = |args: &[&str]| ng(&[&["--run-dir", run_dir.as_str()], args].concat());
    let done = go(&["-o", "json", "service", "move", "vip", "n2"]);
    assert_eq!((code(&done), &object(&done)["op"]), (0, &Value::from(22)));
    let text = go(&["service", "move", "vip", "n2"]);
    assert_eq!(code(&text), 1);
    let stderr = String::from_utf8_lossy(&text.stderr).into_owned();
    assert_eq!(stderr, "ng: 1 of 2 votes\n    do: bring n2\n");
    let json = go(&["-o", "json", "service", "move", "vip", "n2"]);
    assert_eq!((code(&json), &object(&json)["error"]["code"]), (1, &Value::from("no-quorum")));
    assert_eq!(code(&go(&["why", "vip"])), 4);
    let off = go(&["-o", "json", "fence", "confirm", "n2", "--yes"]);
    assert_eq!((code(&off), &object(&off)["life"]), (0, &Value::from(4)));
    let asked = daemon.join().expect("the daemon saw all");
    assert!(asked[0].contains(r#"{"kind":"move","service":"vip","to":"n2"}"#), "{asked:?}");
    assert!(asked[4].contains(r#"{"kind":"confirm-off","node":"n2"}"#), "{asked:?}");
}

#[test]
fn a_move_can_be_waited_for() {
    let folder = Folder::new("wait");
    let event = |phase: &str, owner: &str| {
        format!(
            "\"event\":{{\"kind\":\"service\",\"seq\":1,\"at_ns\":1,\"unix_ms\":1,\
             \"service\":{{\"name\":\"vip\",\"phase\":\"{phase}\",\"owner\":\"{owner}\"}}}}"
        )
    };
    let watching = r#""answer":{"kind":"watching"}"#;
    let moved = r#""answer":{"kind":"moved","service":"vip","from":"n1","to":"n2","op":22}"#;
    let events = [event("stopping", "n1"), event("running", "n1"), event("running", "n2")];
    let stream: Vec<&str> = std::iter::once(watching).chain(events.iter().map(|e| &**e)).collect();
    let daemon = daemon(&folder, &[&stream, &[moved]]);
    let run_dir = folder.path("");
    let done = ng(&["--run-dir", &run_dir, "-o", "json", "service", "move", "vip", "n2", "--wait"]);
    assert_eq!(code(&done), 0);
    assert!(object(&done)["running_after_ms"].is_u64());
    daemon.join().expect("both connections");
}

#[test]
fn a_move_that_ends_elsewhere_is_a_failure() {
    let folder = Folder::new("elsewhere");
    let watching = r#""answer":{"kind":"watching"}"#;
    let moved = r#""answer":{"kind":"moved","service":"vip","from":"n1","to":"n2","op":22}"#;
    let back = r#""event":{"kind":"service","seq":1,"at_ns":1,"unix_ms":1,"service":{"name":"vip",
        "phase":"running","owner":"n1","failed_on":[{"node":"n2","reason":"no eth0"}]}}"#;
    let back = one_line(back);
    let daemon = daemon(&folder, &[&[watching, &back], &[moved]]);
    let output = ng(&["--run-dir", &folder.path(""), "service", "move", "vip", "n2", "--wait"]);
    daemon.join().expect("both connections");
    assert_eq!(code(&output), 1);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("vip failed on n2 and runs on n1"), "{stderr}");
}

#[test]
fn nobody_confirms_a_death_by_accident() {
    let output = ng(&["fence", "confirm", "n2"]);
    assert_eq!(code(&output), 2);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"));
}

#[test]
fn events_are_one_object_per_line_until_the_daemon_ends() {
    let folder = Folder::new("watch");
    let view = r#""event":{"kind":"view","seq":1,"at_ns":2,"unix_ms":3,"view":18,"members":["n1"],
        "joined":[],"left":["n2"]}"#;
    let dropped = r#""event":{"kind":"dropped","seq":2,"at_ns":2,"unix_ms":3,"count":4}"#;
    let view = one_line(view);
    let answers: &[&str] = &[r#""answer":{"kind":"watching"}"#, &view, dropped];
    let daemon = daemon(&folder, &[answers]);
    let output = ng(&["--run-dir", &folder.path(""), "-o", "json", "watch"]);
    daemon.join().expect("served");
    assert_eq!(code(&output), 3, "the daemon is gone");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["left"], serde_json::json!(["n2"]));
    assert_eq!(lines[1]["count"], 4);
    assert_eq!(lines[2]["error"]["code"], "closed");
}

#[test]
fn without_a_daemon_the_path_that_was_tried_is_named() {
    let folder = Folder::new("none");
    let run_dir = folder.path("");
    for command in ["status", "members", "failovers", "why", "watch", "stat"] {
        let output = ng(&["--run-dir", &run_dir, "-o", "json", command]);
        assert_eq!(code(&output), 3, "{command}");
        let error = &object(&output)["error"];
        assert_eq!(error["code"], "not-running", "{command}");
        assert!(error["message"].as_str().unwrap_or_default().contains(&folder.path("")));
        assert!(!error["remedy"].as_str().unwrap_or_default().is_empty());
    }
}

#[test]
fn usage_is_2_and_help_tells_the_codes() {
    for args in [&[][..], &["dance"], &["service", "move", "vip"], &["failovers", "-n", "0"]] {
        assert_eq!(code(&ng(args)), 2, "{args:?}");
    }
    let help = ng(&["--help"]);
    assert_eq!(code(&help), 0);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for line in ["Exit codes:", "3  the daemon cannot be reached", "4  permission denied"] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_key_is_made_once_and_a_configuration_can_use_it() {
    let folder = Folder::new("key");
    let key = folder.path("cluster.key");
    assert_eq!(code(&ng(&["key", "new", &key])), 0);
    let made = fs::read_to_string(&key).expect("readable");
    assert!(made.trim().len() == 64 && made.trim().chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(fs::metadata(&key).expect("there").permissions().mode() & 0o777, 0o600);
    let again = ng(&["-o", "json", "key", "new", &key]);
    assert_eq!((code(&again), &object(&again)["error"]["code"]), (1, &Value::from("exists")));
    assert_eq!(fs::read_to_string(&key).expect("readable"), made, "an existing key is kept");

    let text = include_str!("../../../control/config/testdata/good.toml")
        .replace("/etc/netguard/cluster.key", "cluster.key");
    let file = folder.path("netguard.toml");
    fs::write(&file, &text).expect("writable");
    let good = ng(&["-o", "json", "config", "check", &file, "--node", "n2"]);
    assert_eq!((code(&good), &object(&good)["usable"]), (0, &Value::from(true)));
    assert_eq!(object(&good)["config_hash"].as_str().map(str::len), Some(16));
    let other = ng(&["config", "check", &file, "--node", "n22"]);
    assert_eq!(code(&other), 2);
    assert!(String::from_utf8_lossy(&other.stdout).contains("did you mean \"n2\"?"));

    fs::write(&file, text.replace("misses = 3", "misses = 33").replace("n2\"", "n9\"")).expect("w");
    let bad = ng(&["config", "check", &file]);
    assert_eq!(code(&bad), 2);
    let shown = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(shown.contains("netguard.toml:6:20: error: heartbeat_misses"), "{shown}");
    assert!(shown.ends_with("NOT USABLE: 1 error, 0 warnings\n"), "{shown}");
    let bad = ng(&["-o", "json", "config", "check", &file]);
    assert_eq!(object(&bad)["diagnostics"][0]["line"], 6);
    fs::remove_file(&key).expect("own file");
    fs::write(&file, &text).expect("writable");
    assert_eq!(code(&ng(&["config", "check", &file])), 2, "the key is looked at");
    assert_eq!(code(&ng(&["config", "check", &file, "--skip-key"])), 0);
}
