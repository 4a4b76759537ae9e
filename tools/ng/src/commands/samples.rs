//! Answers of a daemon for the tests of the texts, and the comparison with `testdata`.

use api::{
    Agreement, Configuration, Evidence, Failover, FailoverCause, FailoverService, Failovers, Fence,
    Lease, LinkState, Member, MemberState, Phase, Placement, Quorum, Resource, Role, Service,
    Status, Why, WhyNode, WhyService,
};
use std::path::Path;

fn member(id: u8, me: bool) -> Member {
    let link = |name: &str| LinkState { link: name.into(), up: true, trouble: String::new() };
    Member {
        id,
        name: format!("n{id}"),
        me,
        witness: id == 3,
        voter: true,
        state: MemberState::Member,
        life: 9,
        stint: Some(12),
        reason: String::new(),
        heard_ms_ago: if me { None } else { Some(4.25) },
        links: if me { vec![] } else { vec![link("blue"), link("green")] },
    }
}

fn service() -> Service {
    Service {
        name: "vip".into(),
        phase: Phase::Running,
        owner: Some("n1".into()),
        generation: 3,
        fence: Fence::Lease,
        placement: Placement::Sticky,
        nodes: vec!["n1".into(), "n2".into()],
        resources: vec![Resource {
            kind: "address".into(),
            name: "10.77.1.100/24".into(),
            lease_bound: true,
        }],
        reason: "n1 is preferred".into(),
        since_unix_ms: Some(1_795_431_600_000),
        failed_on: vec![],
    }
}

/// A cluster of three that is fine.
pub(crate) fn status() -> Status {
    Status {
        detection: None,
        cluster: "demo".into(),
        node: "n1".into(),
        node_id: 1,
        life: 9,
        stint: Some(12),
        daemon_version: "0.1.0".into(),
        config_hash: "197b15da8ed6421c".into(),
        now_ns: 5_000_000_000,
        unix_ms: 1_795_431_720_000,
        uptime_ms: 95_000,
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
            last_op: 20,
        },
        configuration: Configuration {
            version: 7,
            hash: "197b15da8ed6421c".into(),
            voters: vec!["n1".into(), "n2".into(), "n3".into()],
            wanted: vec!["n1".into(), "n2".into(), "n3".into()],
            level: 1,
            understood: 1,
            pending: vec![],
        },
        quorum: Quorum { held: true, have: 3, need: 2, why: "n1, n2, n3 of 3 votes".into() },
        lease: Lease { held: true, left_ms: 21.25, lapses: 2 },
        gate: api::Gate { whole: true, lack: String::new(), cured: 0 },
        members: vec![member(1, true), member(2, false), member(3, false)],
        services: vec![service()],
        alarms: vec![],
    }
}

/// One failover.
pub(crate) fn failovers() -> Failovers {
    let service = FailoverService {
        name: "vip".into(),
        generation: 4,
        to: Some("n1".into()),
        evidence: Some(Evidence::LeaseEnded { op: 18 }),
        run_ns: Some(1_030_450_000),
        driver_began_ns: Some(1_030_500_000),
        driver_ended_ns: Some(1_030_900_000),
        started_ns: None,
        asked_ns: Some(1_030_950_000),
        answered_ns: Some(1_030_970_000),
    };
    let failover = Failover {
        op: Some(18),
        victim: "n2".into(),
        life: 4,
        cause: FailoverCause::Silent,
        unix_ms: 1_795_431_600_123,
        last_heard_ns: Some(1_000_000_000),
        deadline_ns: Some(1_030_000_000),
        suspected_ns: Some(1_030_020_000),
        sealed_ns: Some(1_030_100_000),
        agreed_ns: Some(1_030_400_000),
        services: vec![service],
    };
    Failovers { node: "n1".into(), failovers: vec![failover] }
}

/// The reasons for one service.
pub(crate) fn why() -> Why {
    let candidate = |node: &str, eligible, reason: &str| WhyNode {
        node: node.into(),
        eligible,
        reason: reason.into(),
    };
    let why = WhyService {
        service: service(),
        summary: "it runs on n1, the first of its nodes that is a member".into(),
        candidates: vec![
            candidate("n1", true, "member, owner"),
            candidate("n2", true, "member"),
            candidate("n3", false, "witness"),
        ],
        remedies: vec!["ng service move vip n2".into()],
    };
    Why { node: "n1".into(), services: vec![why] }
}

/// After a wanted change of a text: `NG_BLESS=1 cargo test -p ng`, then read the difference.
pub(crate) fn compare(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("NG_BLESS").is_some() {
        std::fs::write(&path, shown).expect("writable");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), shown, "{name}");
}
