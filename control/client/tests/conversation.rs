//! The client against a daemon that is the other end of a socket pair, its lines written
//! beforehand.

use api::{Answer, ErrorCode, Event, EventKind, Members, Refusal, Reply, Status, encode_reply};
use netguard::{Client, Error};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The client, and the daemon's end, which has said `lines` already.
fn talk(lines: &[u8]) -> (Client, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    theirs.write_all(lines).expect("room for a few lines");
    (Client::over(ours, PathBuf::from("/run/netguard/control.sock")), theirs)
}

fn line(reply: &Reply) -> Vec<u8> {
    encode_reply(reply).into_bytes()
}

#[test]
fn a_question_is_one_line_and_its_answer_another() {
    let status = Status { node: "n1".into(), ..Status::default() };
    let (mut client, theirs) = talk(&line(&Reply::answer(1, Answer::Status(Box::new(status)))));
    assert_eq!(client.status().unwrap().node, "n1");
    let mut asked = String::new();
    BufReader::new(theirs).read_line(&mut asked).unwrap();
    assert_eq!(asked, "{\"version\":1,\"id\":1,\"request\":{\"kind\":\"status\"}}\n");
}

#[test]
fn a_late_answer_is_not_taken_for_this_one() {
    let mut lines = line(&Reply::answer(1, Answer::Members(Members::default())));
    let fresh = Members { node: "n1".into(), ..Members::default() };
    lines.extend(line(&Reply::answer(2, Answer::Members(fresh))));
    let (mut client, mut theirs) = talk(b"");
    client.set_timeout(Duration::from_millis(1));
    assert!(matches!(client.members(), Err(Error::Timeout { .. })));
    theirs.write_all(&lines).unwrap();
    client.set_timeout(Duration::from_secs(60));
    assert_eq!(client.members().unwrap().node, "n1");
}

#[test]
fn a_refusal_keeps_its_code_and_remedy() {
    let refusal = Refusal::new(ErrorCode::NoQuorum, "1 of 2 votes", "bring back n2");
    let (mut client, _theirs) = talk(&line(&Reply::error(1, refusal)));
    let error = client.move_service("vip", "n2").unwrap_err();
    assert_eq!((error.code().as_str(), error.to_string().as_str()), ("no-quorum", "1 of 2 votes"));
    assert_eq!(error.remedy(), "bring back n2");
}

#[test]
fn what_the_daemon_should_not_say() {
    for (lines, code) in [
        (&b"{\"version\":2,\"id\":1,\"answer\":{}}\n"[..], "version"),
        (b"hello\n", "malformed"),
        (b"{\"version\":1,\"id\":1,\"answer\":{\"kind\":\"watching\"}}\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b"{\"version\":1,\"id\":1}\n", "malformed"),
    ] {
        let (mut client, _theirs) = talk(lines);
        assert_eq!(client.status().unwrap_err().code(), code);
    }
}

#[test]
fn a_daemon_that_hangs_up() {
    let (mut client, theirs) = talk(b"{\"version\":1,");
    drop(theirs);
    let error = client.status().unwrap_err();
    assert!(matches!(error, Error::Closed), "{error:?}");
}

#[test]
fn a_line_without_end_is_given_up() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = std::thread::spawn(move || {
        let chunk = vec![b'x'; 1 << 16];
        while theirs.write_all(&chunk).is_ok() {}
    });
    let mut client = Client::over(ours, PathBuf::new());
    client.set_timeout(Duration::from_secs(60));
    let error = client.status().unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    drop(client);
    writer.join().unwrap();
}

#[test]
fn events_come_in_order_and_none_is_no_error() {
    let event = |seq| {
        let event = EventKind::Dropped { count: seq };
        Reply::event(1, Event { seq, at_ns: 1, unix_ms: 2, event })
    };
    let mut lines = line(&Reply::answer(1, Answer::Watching));
    lines.extend(line(&event(7)));
    lines.extend(line(&event(8)));
    let (client, mut theirs) = talk(&lines);
    let mut watch = client.watch().unwrap();
    assert!(watch.as_raw_fd() >= 0);
    assert_eq!(watch.next(Some(Duration::ZERO)).unwrap().map(|event| event.seq), Some(7));
    assert_eq!(watch.next(None).unwrap().map(|event| event.seq), Some(8));
    assert_eq!(watch.next(Some(Duration::ZERO)).unwrap(), None);
    assert_eq!(watch.next(Some(Duration::from_millis(1))).unwrap(), None);
    theirs.write_all(&line(&event(9))).unwrap();
    assert_eq!(watch.next(None).unwrap().map(|event| event.seq), Some(9));
    drop(theirs);
    assert!(matches!(watch.next(None), Err(Error::Closed)));
}

#[test]
fn nobody_there_names_the_path_that_was_tried() {
    let error = Client::connect_in("/nonexistent/run").unwrap_err();
    assert!(matches!(error, Error::NotRunning { .. }));
    assert!(error.to_string().contains("/nonexistent/run/control.sock"), "{error}");
    assert!(error.remedy().contains("--run-dir"), "{}", error.remedy());
}
