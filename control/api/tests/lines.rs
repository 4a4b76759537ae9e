//! The lines as programs see them: field names are a contract, `testdata/*.json` holds them.

use ng_api::{
    Agreement, Alarm, Answer, Configuration, ConfigurationAnswer, Configured, ConfirmedOff,
    Detection, ErrorCode, Event, EventKind, Evidence, Failover, FailoverCause, FailoverService,
    Failovers, Fence, Gate, Holder, Lease, LinkState, Member, MemberState, Members, Moved,
    NodeFailure, Overridden, PendingVote, Phase, Placement, Quorum, REQUEST_LINE_MAX, Refusal,
    Reply, ReplyBody, Request, Resource, Role, Service, Severity, Status, Why, WhyNode, WhyService,
    encode_reply, encode_request, parse_reply, parse_request,
};
use std::path::Path;

fn member() -> Member {
    Member {
        id: 2,
        name: "n2".into(),
        me: false,
        witness: false,
        voter: true,
        state: MemberState::Suspect,
        life: 4,
        stint: Some(17),
        reason: "silent on all links".into(),
        heard_ms_ago: Some(31.5),
        links: vec![LinkState { link: "blue".into(), up: false, trouble: String::new() }],
    }
}

fn service() -> Service {
    Service {
        name: "vip".into(),
        phase: Phase::WaitingForFence,
        owner: Some("n2".into()),
        generation: 3,
        fence: Fence::Fenced,
        placement: Placement::FailBack,
        nodes: vec!["n1".into(), "n2".into()],
        resources: vec![Resource {
            kind: "address".into(),
            name: "10.77.1.100/24".into(),
            lease_bound: true,
        }],
        reason: "n2 is down and not proven off".into(),
        since_unix_ms: Some(1_795_000_000_000),
        failed_on: vec![NodeFailure { node: "n1".into(), reason: "no interface".into() }],
    }
}

fn status() -> Status {
    Status {
        detection: Some(Detection {
            budget_ms: 12.3,
            late_ms: 2.1,
            jitter_ms: 0.2,
            deadline_ms: 30.0,
        }),
        cluster: "demo".into(),
        node: "n1".into(),
        node_id: 1,
        life: 9,
        stint: Some(12),
        daemon_version: "0.1.0".into(),
        config_hash: "197b15da8ed6421c".into(),
        now_ns: 5_000_000_000,
        unix_ms: 1_795_000_000_000,
        uptime_ms: 4_000,
        heartbeat_interval_ns: 10_000_000,
        deadline_ns: 30_000_000,
        network_io: "io_uring".into(),
        agreement: Agreement {
            era: 1,
            term: 2,
            role: Role::Primary,
            primary: Some("n1".into()),
            view: 17,
            commit_op: 20,
            last_op: 21,
        },
        configuration: configuration(),
        quorum: Quorum { held: true, have: 2, need: 2, why: "n1, n3 of 3 votes".into() },
        lease: Lease { held: true, left_ms: 21.25, lapses: 2 },
        gate: Gate { whole: true, lack: String::new(), cured: 1 },
        members: vec![member()],
        services: vec![service()],
        alarms: vec![alarm()],
    }
}

fn configuration() -> Configuration {
    let pending = PendingVote { node: "n4".into(), gives: true, why: "it has not joined".into() };
    Configuration {
        version: 7,
        hash: "197b15da8ed6421c".into(),
        voters: vec!["n1".into(), "n2".into(), "n3".into()],
        wanted: vec!["n1".into(), "n2".into(), "n3".into(), "n4".into()],
        level: 1,
        understood: 2,
        pending: vec![pending],
    }
}

fn alarm() -> Alarm {
    Alarm {
        code: "no-realtime".into(),
        severity: Severity::Notice,
        message: "the fast path runs without real-time priority".into(),
        remedy: "start it as root".into(),
        since_unix_ms: 1_795_000_000_000,
    }
}

fn failover() -> Failover {
    Failover {
        op: Some(18),
        victim: "n2".into(),
        life: 4,
        cause: FailoverCause::Silent,
        unix_ms: 1_795_000_000_000,
        last_heard_ns: Some(1_000_000),
        deadline_ns: Some(31_000_000),
        suspected_ns: Some(31_020_000),
        sealed_ns: Some(31_100_000),
        agreed_ns: Some(31_400_000),
        services: vec![FailoverService {
            name: "vip".into(),
            generation: 4,
            to: Some("n1".into()),
            evidence: Some(Evidence::LeaseEnded { op: 18 }),
            run_ns: Some(31_450_000),
            driver_began_ns: Some(31_500_000),
            driver_ended_ns: Some(31_900_000),
            started_ns: None,
            asked_ns: Some(31_950_000),
            answered_ns: Some(31_990_000),
        }],
    }
}

fn replies() -> Vec<Reply> {
    let members =
        Members { node: "n1".into(), view: 17, members: vec![member()], ..Members::default() };
    let why = WhyService {
        service: service(),
        summary: "it waits".into(),
        candidates: vec![WhyNode { node: "n1".into(), eligible: true, reason: "member".into() }],
        remedies: vec!["ng fence confirm n2".into()],
    };
    let moved = Moved { service: "vip".into(), from: Some("n2".into()), to: "n1".into(), op: 22 };
    let view = EventKind::View {
        view: 18,
        members: vec!["n1".into(), "n3".into()],
        joined: vec![],
        left: vec!["n2".into()],
    };
    let answers = [
        Answer::Status(Box::new(status())),
        Answer::Members(members),
        Answer::Failovers(Failovers { node: "n1".into(), failovers: vec![failover()] }),
        Answer::Moved(moved),
        Answer::Why(Why { node: "n1".into(), services: vec![why] }),
        Answer::ConfirmedOff(ConfirmedOff { node: "n2".into(), life: 4, op: 23 }),
        Answer::Configuration(ConfigurationAnswer {
            node: "n1".into(),
            configuration: configuration(),
            document: "[cluster]\nname = \"demo\"\n".into(),
            file_differs: true,
            held_by: vec![Holder { node: "n2".into(), has: true, note: String::new() }],
        }),
        Answer::Configured(Configured { version: 8, hash: "197b15da8ed6421c".into() }),
        Answer::Overridden(Overridden { absent: vec!["n3".into(), "n4".into()] }),
        Answer::Watching,
    ];
    let events = [
        view,
        EventKind::Service { service: service() },
        EventKind::Alarm { raised: true, alarm: alarm() },
        EventKind::Dropped { count: 3 },
    ];
    let mut replies: Vec<Reply> = answers.map(|answer| Reply::answer(7, answer)).into();
    replies.push(Reply::error(7, Refusal::new(ErrorCode::NoQuorum, "1 of 2", "bring back n2")));
    replies.extend(events.into_iter().zip(1..).map(|(event, seq)| {
        Reply::event(7, Event { seq, at_ns: 5_000_000_000, unix_ms: 1_795_000_000_000, event })
    }));
    replies
}

fn requests() -> Vec<Request> {
    vec![
        Request::Status,
        Request::Members,
        Request::Failovers { limit: 10 },
        Request::Move { service: "vip".into(), to: "n2".into() },
        Request::Why { service: None },
        Request::Why { service: Some("vip".into()) },
        Request::ConfirmOff { node: "n2".into() },
        Request::Configuration,
        Request::Configure { base: 7, document: "[cluster]\nname = \"demo\"\n".into() },
        Request::Upgrade,
        Request::Override { absent: vec!["n3".into(), "n4".into()] },
        Request::Probe { bytes: 64, count: 10, window: 1 },
        Request::Watch,
    ]
}

/// After a wanted addition: `NG_BLESS=1 cargo test -p ng-api`, then read the difference.
fn compare(name: &str, lines: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("NG_BLESS").is_some() {
        std::fs::write(&path, lines).expect("writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, lines, "{name}: names and shapes are a contract, additions only");
}

#[test]
fn lines_are_what_they_were() {
    let lines: String = requests().into_iter().map(|request| encode_request(7, request)).collect();
    compare("requests.jsonl", &lines);
    let lines: String = replies().iter().map(encode_reply).collect();
    compare("replies.jsonl", &lines);
}

#[test]
fn what_is_written_is_read_back() {
    for request in requests() {
        let line = encode_request(7, request.clone());
        assert_eq!(parse_request(line.as_bytes()).unwrap().request, request);
    }
    for reply in replies() {
        assert_eq!(parse_reply(encode_reply(&reply).as_bytes()).unwrap(), reply);
    }
    let kinds: Vec<String> = requests()
        .into_iter()
        .filter_map(|r| Some(serde_json::to_value(r).ok()?.get("kind")?.as_str()?.to_owned()))
        .collect();
    assert!(Request::KINDS.iter().all(|kind| kinds.iter().any(|k| k == kind)));
}

#[test]
fn an_unreadable_request_gets_a_typed_error_with_its_id() {
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(REQUEST_LINE_MAX));
    for (line, id, code) in [
        ("", 0, ErrorCode::BadRequest),
        ("hello", 0, ErrorCode::BadRequest),
        ("[1,2]", 0, ErrorCode::BadRequest),
        (long.as_str(), 0, ErrorCode::BadRequest),
        ("{\"version\":1,\"id\":3}", 3, ErrorCode::BadRequest),
        ("{\"version\":2,\"id\":4,\"request\":{\"kind\":\"status\"}}", 4, ErrorCode::Version),
        ("{\"version\":1,\"id\":5,\"request\":{\"kind\":\"stat\"}}", 5, ErrorCode::UnknownRequest),
        ("{\"version\":1,\"id\":6,\"request\":{\"kind\":\"move\"}}", 6, ErrorCode::BadRequest),
        ("{\"version\":1,\"id\":6,\"request\":{\"kind\":7}}", 6, ErrorCode::BadRequest),
        ("{\"version\":1,\"id\":-1,\"request\":{}}", 0, ErrorCode::BadRequest),
    ] {
        let reply = parse_request(line.as_bytes()).unwrap_err();
        let ReplyBody::Error(refusal) = &reply.body else { panic!("{reply:?}") };
        assert_eq!((reply.id, refusal.code), (id, code), "{line}");
        assert!(!refusal.message.is_empty() && !refusal.remedy.is_empty());
    }
    let whole = Request::Configure { base: 1, document: "\"\n".repeat(32 << 10) };
    let line = encode_request(7, whole);
    assert!(
        line.len() <= REQUEST_LINE_MAX && parse_request(line.as_bytes()).is_ok(),
        "{}",
        line.len()
    );
    let deep = "[".repeat(4000);
    assert!(parse_request(deep.as_bytes()).is_err());
}

#[test]
fn a_newer_daemon_can_be_read() {
    let line = br#"{"version":1,"id":7,"new":1,"answer":{"kind":"members","node":"n1","new":[],
        "members":[{"id":1,"state":"hibernating"}]}}"#;
    let reply = parse_reply(line).unwrap();
    let ReplyBody::Answer(Answer::Members(members)) = reply.body else { panic!("members") };
    assert_eq!(members.members[0].state, MemberState::Unknown);
    let line = br#"{"version":1,"id":7,"event":{"kind":"eclipse","seq":1,"at_ns":2,"unix_ms":3}}"#;
    let ReplyBody::Event(event) = parse_reply(line).unwrap().body else { panic!("event") };
    assert_eq!(event.event, EventKind::Unknown);
    let line = br#"{"version":1,"id":7,"error":{"code":"tired","message":"m","remedy":"r"}}"#;
    let ReplyBody::Error(refusal) = parse_reply(line).unwrap().body else { panic!("error") };
    assert_eq!(refusal.code, ErrorCode::Unknown);
}

#[test]
fn an_answer_that_is_too_long_says_so() {
    let why = "x".repeat(ng_api::REPLY_LINE_MAX);
    let quorum = Quorum { why, ..Quorum::default() };
    let members = Members { quorum, ..Members::default() };
    let line = encode_reply(&Reply::answer(7, Answer::Members(members)));
    let reply = parse_reply(line.as_bytes()).unwrap();
    assert!(matches!(reply.body, ReplyBody::Error(r) if r.code == ErrorCode::Internal));
}

#[test]
fn the_code_in_a_message_is_the_code_by_name() {
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::NotAMember,
        ErrorCode::NodeIsAlive,
        ErrorCode::Changed,
        ErrorCode::BadDocument,
        ErrorCode::NotPossible,
    ] {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}
