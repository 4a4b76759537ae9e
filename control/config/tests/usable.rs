//! What a right file becomes, and what changes its hash.

use ng_config::{Config, Core, Fence, Frames, Mode, NetworkIo, Placement, Resource, parse};
use std::time::Duration;

const GOOD: &str = include_str!("../testdata/good.toml");

fn good(text: &str) -> Config {
    match parse("good.toml", text) {
        Ok((config, report)) => {
            assert_eq!(report.to_string(), "");
            config
        }
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn every_key_arrives() {
    let config = good(GOOD);
    assert_eq!(config.cluster.name, "demo");
    assert_eq!(config.cluster.key_file.to_str(), Some("/etc/netguard/cluster.key"));
    assert_eq!(config.deadline(), Duration::from_millis(30));
    assert_eq!(config.links[0].mode, Mode::Multicast { group: "239.255.77.1".parse().unwrap() });
    assert_eq!((config.links[1].mode, config.links[1].port), (Mode::Unicast, 5800));
    let ids: Vec<_> = config.nodes.iter().map(|node| (node.id, node.witness)).collect();
    assert_eq!(ids, [(1, false), (2, false), (3, true)], "by id, not by place");
    assert_eq!(config.nodes[1].addresses[1].to_string(), "10.77.2.2");
    assert_eq!((config.local.core, config.local.realtime_priority), (Core::Number(1), 60));
    assert_eq!(config.local.network_io, NetworkIo::Recvmmsg);
    let vip = &config.services[0];
    assert_eq!((vip.placement, vip.fence), (Placement::FailBack, Fence::Lease));
    assert_eq!(vip.nodes, [2, 1], "the order is the preference");
    let interface = Some("eth0".to_owned());
    let address = "10.77.1.100".parse().unwrap();
    assert_eq!(vip.resources, [Resource::Address { address, prefix: 24, interface }]);
    let thing = &config.services[1];
    assert_eq!((thing.placement, thing.fence), (Placement::Sticky, Fence::Fenced));
    assert_eq!(thing.nodes, [1, 2], "all but the witness");
    assert_eq!(thing.resources[0].name(), "fd00:77::100/64");
    let run = vec!["/usr/bin/thing".into(), "--flag".into()];
    let stop_timeout = Duration::from_secs(2);
    assert_eq!(thing.resources[1], Resource::Command { run, stop_timeout });
    assert!(thing.resources[0].lease_bound() && !thing.resources[1].lease_bound());
}

#[test]
fn defaults_are_what_the_manual_says() {
    let text = GOOD
        .replace("heartbeat_interval = \"10ms\"\nheartbeat_misses = 3\n", "")
        .replace("[local]\ncore = 1\nrealtime_priority = 60\nnetwork_io = \"recvmmsg\"\n", "")
        .replace("stop_timeout = \"2s\"\n", "");
    let config = good(&text);
    assert_eq!(config.cluster.heartbeat_interval, Duration::from_millis(10));
    assert_eq!(config.cluster.heartbeat_misses, 3);
    assert_eq!((config.local.core, config.local.realtime_priority), (Core::Auto, 50));
    assert_eq!((config.local.network_io, config.links[0].frames), (NetworkIo::Auto, Frames::Udp));
    let Resource::Command { stop_timeout, .. } = config.services[1].resources[1] else {
        panic!("a command");
    };
    assert_eq!(stop_timeout, Duration::from_secs(5));
}

#[test]
fn the_hash_is_of_what_must_be_equal_on_all_nodes() {
    let hash = |text: &str| good(text).config_hash();
    let same = hash(GOOD);
    let commented = GOOD.replace("[[link]]", "# more\n[[link]] # words");
    let reordered = GOOD.replace(
        "name = \"demo\"\nkey_file = \"/etc/netguard/cluster.key\"",
        "key_file = \"/somewhere/else\"\nname = \"demo\"",
    );
    for text in [
        commented,
        reordered,
        GOOD.replace("core = 1", "core = \"none\""),
        GOOD.replace("core = 1", "core = 1\ngate_sockets = \"none\""),
        GOOD.replace("recvmmsg", "io_uring"),
        GOOD.replacen("port = 5800", "port = 5800\nframes = \"udp\"", 1),
        GOOD.replace("\"10ms\"", "\"10000us\""),
        GOOD.replace("port = 5800", "port = 0x16a8"),
        GOOD.replace("name = \"thing\"", "name = \"thing\"\nnodes = [\"n1\", \"n2\"]"),
    ] {
        assert_eq!(hash(&text), same, "{text}");
    }
    for (from, to) in [
        ("\"demo\"", "\"demo2\""),
        ("\"10ms\"", "\"11ms\""),
        ("misses = 3", "misses = 4"),
        ("\"blue\"", "\"red\""),
        ("\"unicast\"", "\"broadcast\""),
        ("239.255.77.1", "239.255.77.2"),
        ("\"239.255.77.1\"", "\"239.255.77.1\"\nframes = \"ethernet\""),
        ("10.77.2.3", "10.77.2.4"),
        ("witness = true", "witness = false"),
        ("[\"n2\", \"n1\"]", "[\"n1\", \"n2\"]"),
        ("fail-back", "sticky"),
        ("\"lease\"", "\"fenced\""),
        ("100/24", "100/25"),
        ("eth0", "eth1"),
        ("--flag", "--flagg"),
        ("\"2s\"", "\"3s\""),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        assert_ne!(hash(&text), same, "{from} -> {to}");
    }
    // Frames of two releases meet on the wire: the encoding may not change by accident.
    assert_eq!(format!("{same:016x}"), "197b15da8ed6421c");
    assert_ne!(good(GOOD).cluster_id(), good(&GOOD.replace("demo", "demo2")).cluster_id());
}

#[test]
fn an_unknown_node_is_told_with_the_near_one() {
    let config = good(GOOD);
    assert_eq!(config.for_node("n2").map(|node| node.id), Ok(2));
    let error = config.for_node("node2").unwrap_err();
    assert!(error.to_string().contains("\"node2\""), "{error}");
    assert!(error.remedy().contains("n1, n2, n3"), "{}", error.remedy());
    assert!(config.for_node("n22").unwrap_err().remedy().contains("did you mean \"n2\"?"));
}
