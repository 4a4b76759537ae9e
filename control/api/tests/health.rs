//! "Is it fine": what `ng status` says first, and what its exit code rests on.

use ng_api::{Alarm, LinkState, Member, MemberState, Phase, Quorum, Service, Severity, Status};

fn member(name: &str) -> Member {
    Member { name: name.into(), state: MemberState::Member, ..Member::default() }
}

fn good() -> Status {
    let quorum = Quorum { held: true, have: 3, need: 2, why: "all".into() };
    let members = ["n1", "n2", "n3"].map(member).into();
    let service = Service { name: "vip".into(), phase: Phase::Running, ..Service::default() };
    Status { quorum, members, services: vec![service], ..Status::default() }
}

#[test]
fn a_whole_cluster_is_fine_and_a_notice_does_not_change_that() {
    let mut status = good();
    assert!(status.health().fine && status.health().problems.is_empty());
    status.alarms.push(alarm(Severity::Notice, "no real-time priority"));
    let health = status.health();
    assert!(health.fine);
    assert_eq!(health.problems.len(), 1, "it is told all the same");
}

fn alarm(severity: Severity, message: &str) -> Alarm {
    let (code, remedy) = ("test".into(), "do".into());
    Alarm { code, severity, message: message.into(), remedy, since_unix_ms: 1 }
}

#[test]
fn each_fault_is_told_with_a_remedy() {
    type Change = fn(&mut Status);
    let cases: [(Change, &str, &str); 8] = [
        (|s| s.members[1].state = MemberState::Down, "node n2 is down", "start n2"),
        (|s| s.members[1].state = MemberState::Suspect, "node n2 is silent", "check n2"),
        (|s| s.members[1].state = MemberState::Joining, "node n2 is joining", "wait"),
        (
            |s| {
                s.members[1].links =
                    vec![LinkState { link: "blue".into(), up: false, trouble: String::new() }]
            },
            "node n2 is not heard on link blue",
            "cable",
        ),
        (|s| s.services[0].phase = Phase::Failed, "service vip has failed", "ng why vip"),
        (|s| s.services[0].phase = Phase::Idle, "service vip does not run", "ng why vip"),
        (
            |s| {
                s.services[0].phase = Phase::WaitingForFence;
                s.services[0].owner = Some("n2".into());
            },
            "waits for proof that n2 is off",
            "ng fence confirm n2",
        ),
        (|s| s.alarms.push(alarm(Severity::Warning, "two machines are n2")), "two machines", "do"),
    ];
    for (change, message, remedy) in cases {
        let mut status = good();
        change(&mut status);
        let health = status.health();
        assert!(!health.fine, "{message}");
        assert_eq!(health.problems.len(), 1, "{:?}", health.problems);
        assert!(health.problems[0].message.contains(message), "{:?}", health.problems);
        assert!(health.problems[0].remedy.contains(remedy), "{:?}", health.problems);
    }
}

#[test]
fn without_quorum_that_is_said_first_and_names_who_is_missing() {
    let mut status = good();
    status.quorum = Quorum { held: false, have: 1, need: 2, why: "1 of 3 votes".into() };
    status.members[1].state = MemberState::Down;
    status.members[2].state = MemberState::Suspect;
    status.services[0].phase = Phase::Idle;
    let health = status.health();
    assert_eq!(health.problems[0].message, "no quorum: 1 of 3 votes");
    assert_eq!(
        health.problems[0].remedy,
        "bring back n2, n3, or the links to them; if they are gone for good, see that they are off, restart the \
         daemons of the others, then `ng cluster override --absent n2,n3`"
    );
    assert_eq!(health.problems[1].remedy, "restore the quorum first");
    let ranks: Vec<u8> = health.problems.iter().map(|p| p.severity.rank()).collect();
    assert!(ranks.is_sorted(), "worst first: {ranks:?}");
}

#[test]
fn the_last_resort_is_named_where_it_would_be_taken() {
    let mut status = good();
    status.quorum = Quorum { held: false, have: 1, need: 2, why: "1 of 3 votes".into() };
    status.members[0].state = MemberState::Joining;
    status.members[1].state = MemberState::Down;
    status.members[2].state = MemberState::Down;
    let remedy = |status: &Status| status.health().problems[0].remedy.clone();
    assert!(
        remedy(&status).ends_with("are off, `ng cluster override --absent n2,n3`"),
        "{}",
        remedy(&status)
    );
    status.members.truncate(2);
    assert_eq!(
        remedy(&status),
        "bring back n2, or the links to them",
        "a pair has `ng fence confirm`"
    );
    status.members[1].state = MemberState::Joining;
    assert!(
        remedy(&status).contains("restart the voters"),
        "all are there: nobody is to be given up"
    );
}

#[test]
fn a_critical_alarm_stands_before_a_lost_node() {
    let mut status = good();
    status.members[1].state = MemberState::Down;
    status.alarms.push(alarm(Severity::Critical, "two machines claim to be n3"));
    let messages: Vec<String> = status.health().problems.into_iter().map(|p| p.message).collect();
    assert_eq!(messages, ["two machines claim to be n3", "node n2 is down"]);
}

#[test]
fn a_link_that_is_up_and_loses_beats_is_named_and_does_not_make_the_cluster_unhealthy() {
    let mut status = good();
    let trouble = "5 lost of the last 512 beats".to_owned();
    status.members[1].links = vec![LinkState { link: "blue".into(), up: true, trouble }];
    let health = status.health();
    assert!(health.fine, "{health:?}");
    let message = &health.problems[0].message;
    assert!(message.contains("blue (5 lost of the last 512 beats)"), "{message}");
}
