//! What `ng config diff` says: each change with its cost, each refusal with its remedy.

use ng_config::{Config, Cost, Plan, Situation, parse, plan};

const GOOD: &str = include_str!("../testdata/good.toml");

fn read(text: &str) -> Config {
    parse("t", text).unwrap_or_else(|report| panic!("{report}")).0
}

/// All three are members and vote, n1 is primary, n2 owns `vip`, n1 `thing`.
fn now() -> Situation {
    Situation {
        members: vec![1, 2, 3],
        voters: vec![1, 2, 3],
        primary: Some(1),
        owners: vec![("vip".into(), 2), ("thing".into(), 1)],
    }
}

fn of(text: &str, now: &Situation) -> Plan {
    plan(&read(GOOD), &read(text), now)
}

fn change(from: &str, to: &str) -> Plan {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "{from}");
    of(&text, &now())
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|it| format!("{}: {} | {} | {}", it.subject, it.what, it.cost.as_str(), it.costs))
        .collect()
}

fn refusals(plan: &Plan) -> String {
    plan.refusals
        .iter()
        .map(|it| format!("{}; {}", it.message, it.remedy))
        .collect::<Vec<_>>()
        .join("\n")
}

fn warnings(plan: &Plan) -> String {
    plan.warnings
        .iter()
        .map(|it| format!("{}; {}", it.message, it.remedy))
        .collect::<Vec<_>>()
        .join("\n")
}

fn node(id: u8, more: &str) -> String {
    format!(
        "\n[[node]]\nid = {id}\nname = \"n{id}\"\naddresses = [\"10.77.1.{id}\", \"10.77.2.{id}\"]\n{more}"
    )
}

#[test]
fn words_that_mean_the_same_are_no_change() {
    for text in [
        GOOD.replace("\"10ms\"", "\"10000us\""),
        GOOD.replace("[[link]]", "# here\n[[link]]"),
        GOOD.replace("core = 1", "core = \"none\""),
    ] {
        let plan = of(&text, &now());
        assert!(plan.is_empty() && plan.warnings.is_empty(), "{plan:?}");
    }
}

#[test]
fn the_heartbeat_changes_without_interruption_and_says_what_failover_takes_then() {
    assert_eq!(
        lines(&change("\"10ms\"", "\"20ms\"")),
        [
            "heartbeat: interval 10ms -> 20ms | nothing | no interruption; failover takes up to 70ms, now 40ms"
        ]
    );
    assert_eq!(
        lines(&change("misses = 3", "misses = 4")),
        [
            "heartbeat: misses 3 -> 4 | nothing | no interruption; failover takes up to 50ms, now 40ms"
        ]
    );
    let same = GOOD.replace("\"10ms\"", "\"15ms\"").replace("misses = 3", "misses = 2");
    assert!(lines(&of(&same, &now()))[0].ends_with("failover takes up to 40ms as before"));
}

#[test]
fn a_node_is_added_without_a_vote_at_first() {
    let plan = of(&format!("{GOOD}{}", node(4, "")), &now());
    assert_eq!(
        lines(&plan),
        [
            "node n4: is added (id 4): joins without a vote, then gets it once it has the log | nothing | no interruption; \
             start its daemons with this document and the cluster's key",
            "service thing: may run on n1, n2, n4, now n1, n2 | nothing | no interruption",
        ]
    );
    assert!(
        warnings(&plan).contains("4 votes survive the loss of 1, no more than 3 do"),
        "{}",
        warnings(&plan)
    );
    assert_eq!(refusals(&plan), "");

    let five = of(&format!("{GOOD}{}{}", node(4, ""), node(5, "")), &now());
    assert!(
        warnings(&five).contains("until n4 or n5 has its vote and is a member, no voter may die"),
        "{}",
        warnings(&five)
    );
    let mute = of(&format!("{GOOD}{}", node(4, "vote = false\n")), &now());
    assert!(lines(&mute)[0].starts_with("node n4: is added (id 4) without a vote |"));
    assert_eq!(warnings(&mute), "");
    let witness = of(&format!("{GOOD}{}", node(4, "witness = true\n")), &now());
    assert!(lines(&witness)[0].contains("as a witness"));
    assert_eq!(witness.steps.len(), 1, "no service may run there");
}

#[test]
fn many_votes_are_slow() {
    let text: String = (4..=9).map(|id| node(id, "")).collect();
    let plan = of(&format!("{GOOD}{text}"), &now());
    assert!(warnings(&plan).contains("9 votes: every entry waits for 5"), "{}", warnings(&plan));
    assert_eq!(refusals(&plan), "", "none of the new ones votes before it is there");
}

fn without(id: u8) -> String {
    let block = node(id, if id == 3 { "witness = true\n" } else { "" });
    let text =
        GOOD.replace(&block, "").replace("nodes = [\"n2\", \"n1\"]", "nodes = [\"n1\", \"n2\"]");
    let text = if id == 3 {
        text
    } else {
        text.replace(&format!("\"n{id}\""), "").replace(", ]", "]").replace("[, ", "[")
    };
    assert!(!text.contains(&format!("\"n{id}\"")), "{text}");
    text
}

#[test]
fn a_node_that_goes_gives_its_services_away_first() {
    let plan = of(&without(2), &now());
    assert_eq!(
        lines(&plan),
        [
            "node n2: is removed (id 2): its vote is taken, it leaves the view and is forgotten | move | \
             vip moves to another node first",
            "service vip: may run on n1, now n2, n1 | move | it moves away from n2",
            "service thing: may run on n1, now n1, n2 | nothing | no interruption",
        ]
    );
    assert_eq!(refusals(&plan), "");
    assert!(warnings(&plan).contains("two votes, one a witness's"), "{}", warnings(&plan));
    let primary = lines(&of(&without(1), &now()));
    assert!(
        primary[0].contains("it is the primary and hands over first; its vote is taken"),
        "{}",
        primary[0]
    );
    let witness = of(&without(3), &now());
    assert!(warnings(&witness).contains("a pair without a witness"), "{}", warnings(&witness));
    assert!(lines(&witness)[0].contains("its daemons end by themselves"));
}

#[test]
fn the_owner_cannot_go_when_nobody_else_is_there() {
    let alone = Situation { members: vec![2, 3], ..now() };
    let plan = of(&without(2), &alone);
    assert!(refusals(&plan).contains(
        "service vip runs on n2, and of the nodes that may have it then (n1) none is a member"
    ));
}

#[test]
fn the_majority_must_live_after_every_vote_that_is_taken() {
    // n3 is down: without n2's vote, one of two would be left.
    let two = Situation { members: vec![1, 2], ..now() };
    let plan = of(&without(2), &two);
    assert!(refusals(&plan).contains(
        "without n2's vote there would be no live majority: of n1, n3 only n1 are members"
    ));
    // The dead one may go.
    assert_eq!(refusals(&of(&without(3), &two)), "");
    // Both at once: first the dead one, then there are two of two.
    let five = Situation { members: vec![1, 2, 3], voters: vec![1, 2, 3, 4, 5], ..now() };
    let present = read(&format!("{GOOD}{}{}", node(4, ""), node(5, "")));
    let plan = ng_config::plan(&present, &read(GOOD), &five);
    assert_eq!(refusals(&plan), "");
    let none = Situation { members: vec![], ..now() };
    assert!(refusals(&of(&without(3), &none)).contains("there is no quorum"));
}

#[test]
fn a_witness_can_become_a_node_and_a_node_a_witness() {
    let plan = change("witness = true", "witness = false");
    assert!(lines(&plan)[0].starts_with("node n3: is no witness any more"), "{:?}", lines(&plan));
    let text = GOOD
        .replace("nodes = [\"n2\", \"n1\"]", "nodes = [\"n1\"]")
        .replace("name = \"n2\"\naddresses", "name = \"n2\"\nwitness = true\naddresses");
    let plan = of(&text, &now());
    assert_eq!(
        lines(&plan)[0],
        "node n2: becomes a witness: keeps its vote, owns nothing any more | move | vip moves to another node first"
    );
    let mute = change("name = \"n2\"\naddresses", "name = \"n2\"\nvote = false\naddresses");
    assert_eq!(
        lines(&mute),
        ["node n2: loses its vote, and stays a member | nothing | no interruption"]
    );
}

#[test]
fn what_every_frame_carries_cannot_change() {
    assert!(
        refusals(&change("\"demo\"", "\"other\""))
            .contains("the cluster's name cannot change, from demo to other")
    );
    let key = change("/etc/netguard/cluster.key", "/root/key");
    assert!(
        lines(&key)[0].starts_with("key file: /etc/netguard/cluster.key -> /root/key | restart |")
    );
}

#[test]
fn links_change_one_after_another() {
    let plan = change("\"unicast\"", "\"broadcast\"");
    assert!(
        lines(&plan)[0].starts_with(
            "link green: unicast port 5800 -> broadcast port 5800 | restart | restart the daemons"
        ),
        "{:?}",
        lines(&plan)
    );
    assert_eq!(refusals(&plan), "");
    let both = of(&GOOD.replace("5800", "5900"), &now());
    assert!(refusals(&both).contains("every link changes"), "{}", refusals(&both));
    assert!(refusals(&both).contains("keep one link as it is"));
    let name = change("\"blue\"", "\"red\"");
    assert!(lines(&name)[0].starts_with("link blue: is called red | restart"));
}

#[test]
fn an_address_is_its_nodes_restart() {
    assert_eq!(
        lines(&change("10.77.2.3", "10.77.2.33")),
        ["node n3: address on link green: 10.77.2.3 -> 10.77.2.33 | restart | \
          n3's daemons must be restarted once it has the address"]
    );
}

#[test]
fn a_number_stays_with_its_machine() {
    let plan = change("id = 3\nname = \"n3\"", "id = 4\nname = \"n3\"");
    assert!(refusals(&plan).contains("node n3 would get another id (4)"), "{}", refusals(&plan));
    assert!(plan.steps.is_empty(), "{:?}", lines(&plan));
    let other = GOOD
        .replace("name = \"n3\"", "name = \"x\"")
        .replace("1.3\"", "1.9\"")
        .replace("2.3\"", "2.9\"");
    assert!(refusals(&of(&other, &now())).contains("id 3 is n3's"));
    let renamed = change("name = \"n3\"", "name = \"x\"");
    assert!(lines(&renamed)[0].contains("started with --node x"), "{:?}", lines(&renamed));
    assert_eq!(refusals(&renamed), "");
}

#[test]
fn services_come_go_and_change_with_their_cost() {
    let more = format!(
        "{GOOD}\n[[service]]\nname = \"web\"\n[[service.resource]]\nkind = \"command\"\nrun = [\"/bin/web\"]\n"
    );
    assert_eq!(
        lines(&of(&more, &now())),
        ["service web: is added: may run on n1, n2 | nothing | it starts once this is agreed"]
    );
    let less = &GOOD[..GOOD.find("[[service]]\nname = \"thing\"").unwrap()];
    assert_eq!(
        lines(&of(less, &now())),
        ["service thing: is removed | stop | it is stopped on n1 and forgotten"]
    );
    assert_eq!(
        lines(&change("100/24", "101/24")),
        ["service vip: resources: -address 10.77.1.100/24, +address 10.77.1.101/24 | stop | \
          it is stopped on n2 and started with the new list"]
    );
    assert_eq!(
        lines(&change("fail-back", "sticky")),
        ["service vip: placement fail-back -> sticky | nothing | no interruption"]
    );
    let fence = lines(&change("\"lease\"", "\"fenced\""));
    assert!(
        fence[0].starts_with(
            "service vip: fence lease -> fenced | nothing | no interruption; from then"
        ),
        "{fence:?}"
    );
}

#[test]
fn going_back_is_a_move_when_the_first_is_another() {
    let text = GOOD.replace("placement = \"fail-back\"", "placement = \"sticky\"");
    let (present, wanted) = (read(&text), read(GOOD));
    let elsewhere = Situation { owners: vec![("vip".into(), 1)], ..now() };
    let plan = plan(&present, &wanted, &elsewhere);
    assert!(lines(&plan)[0].contains("| move | it moves to n2 once"), "{:?}", lines(&plan));
}

#[test]
fn the_cost_orders_from_nothing_to_a_stop() {
    assert!(Cost::Nothing < Cost::Restart && Cost::Restart < Cost::Move && Cost::Move < Cost::Stop);
}
