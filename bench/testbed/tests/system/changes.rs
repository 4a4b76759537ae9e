//! The configuration changes while a service runs and a client asks it every millisecond: nobody fails over, no lease
//! lapses, and after every restart the nodes go on with what was agreed.

use crate::Test;
use crate::arena::Arena;
use crate::socket;
use api::{Configuration, Phase};
use base::Duration;
use std::fs;
use std::process::Command;
use testbed::bed::wait_until;
use testbed::cluster::{Cluster, SETTLE};
use testbed::error::{BedError, Context, Result};
use testbed::hold;
use testbed::os;
use testbed::programs::Programs;
use testbed::spec::{SERVICE, Spec};
use testbed::stall::StallMeter;
use testbed::suite::Verdict;
use testbed::topology::{Shape, address, node_name};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "change-three-to-five-and-back", run: three_to_five_and_back },
    Test { name: "change-witness-of-a-pair", run: witness_of_a_pair },
    Test { name: "change-interval", run: interval },
    Test { name: "change-removes-the-primary", run: |it| removes(it, true) },
    Test { name: "change-removes-the-owner", run: |it| removes(it, false) },
    Test { name: "change-primary-cut-in-the-middle", run: primary_cut },
    Test { name: "change-two-at-once", run: two_at_once },
    Test { name: "change-services", run: services },
    Test { name: "change-join-with-an-old-file", run: old_file },
    Test { name: "change-outlives-a-restart-of-all", run: restart_of_all },
    Test { name: "change-override-two-of-five", run: override_two },
    Test { name: "change-release-node-by-node", run: releases },
];

const SECONDS: Duration = Duration::from_millis(10_000);

/// `shape` nodes with power and network, of which the file has all but the last `later`.
fn spec(nodes: u8, later: u8) -> Spec {
    let left_out = (nodes - later + 1..=nodes).collect();
    Spec { shape: Shape { nodes, links: 2 }, left_out, ..Spec::default() }
}

/// A cluster at rest, of the nodes that its file has.
fn start(spec: Spec, programs: &Programs) -> Result<Arena> {
    let mut cluster = Cluster::prepare(spec, programs)?;
    let left_out = cluster.spec().left_out.clone();
    for node in cluster.ids().filter(|node| !left_out.contains(node)) {
        cluster.start_node(node)?;
    }
    let rest = cluster.settle()?;
    Ok(Arena { cluster, meter: StallMeter::start(), rest })
}

/// Runs `ng` on a node; an error is what it said.
fn ng(cluster: &Cluster, on: u8, words: &[&str]) -> Result<std::result::Result<String, String>> {
    let (said, code) = cluster.ng(on, words)?;
    Ok(if code == Some(0) {
        Ok(said)
    } else {
        Err(format!("ng {}: {code:?}: {said}", words.join(" ")))
    })
}

/// Runs it and takes no refusal.
fn order(cluster: &Cluster, on: u8, words: &[&str]) -> Result<String> {
    ng(cluster, on, words)?.map_err(|reason| BedError::Socket { node: node_name(on), reason })
}

fn configuration(cluster: &Cluster, node: u8) -> Result<Configuration> {
    Ok(cluster.status(node)?.configuration)
}

/// Waits until every live node knows one version, and no vote is pending.
fn followed(cluster: &Cluster) -> Result<Configuration> {
    wait_until("the votes to follow", SETTLE, || {
        let mut first: Option<Configuration> = None;
        for node in cluster.alive() {
            let here = configuration(cluster, node).map_err(|error| error.to_string())?;
            if !here.pending.is_empty() {
                return Err(format!("n{node}: {:?}", here.pending));
            }
            if first.as_ref().is_some_and(|other| *other != here) {
                return Err(format!("n{node} has {here:?}, another {first:?}"));
            }
            first = Some(here);
        }
        first.ok_or_else(|| "no node is alive".into())
    })
}

/// Adds a node with `more` words, gives its machine the agreed text, and starts it.
fn add(cluster: &mut Cluster, on: u8, node: u8, more: &[&str]) -> Result<()> {
    let (name, id) = (node_name(node), node.to_string());
    let addresses: Vec<String> =
        (1..=cluster.spec().shape.links).map(|link| address(node, link).to_string()).collect();
    let mut words = vec!["node", "add", &name, "--id", &id, "--yes", "--wait", "0"];
    for address in &addresses {
        words.extend(["--address", address]);
    }
    words.extend(more);
    // Not done yet is what it says: the node has not joined.
    let (said, code) = cluster.ng(on, &words)?;
    if !matches!(code, Some(0 | 1)) || !said.contains("agreed") {
        return Err(BedError::Socket { node: node_name(on), reason: said });
    }
    write_agreed(cluster, on, node)?;
    cluster.start_node(node)
}

/// Gives a node's machine the text that another one prints.
fn write_agreed(cluster: &Cluster, from: u8, to: u8) -> Result<()> {
    let text = order(cluster, from, &["config", "show", "--plain"])?;
    cluster.files(to).write(&format!("{text}\n[local]\ncore = \"none\"\n"))
}

/// Removes a node, and waits until its daemons have ended.
fn remove(cluster: &mut Cluster, on: u8, node: u8) -> Result<()> {
    order(cluster, on, &["node", "remove", &node_name(node), "--yes"])?;
    gone(cluster, node)
}

fn gone(cluster: &mut Cluster, node: u8) -> Result<()> {
    cluster.retire(node);
    wait_until("the daemons of a removed node to end", SECONDS, || {
        match cluster.find(node, "netguard-control") {
            None => Ok(()),
            Some(pid) => Err(format!("process {pid}: {}", cluster.log(node))),
        }
    })
}

/// Owner, generation and lapses: what a change must leave as it is.
fn undisturbed(arena: &Arena) -> Result<(u64, u64)> {
    let status = arena.cluster.status(arena.rest.owner)?;
    Ok((arena.cluster.service(arena.rest.owner)?.generation, status.lease.lapses))
}

fn three_to_five_and_back(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(5, 2), programs)?;
    let owner = arena.rest.owner;
    let before = undisturbed(&arena)?;
    for node in [4, 5] {
        add(&mut arena.cluster, owner, node, &[])?;
        followed(&arena.cluster)?;
    }
    let five = arena.cluster.settle()?;
    let agreed = followed(&arena.cluster)?;
    hold!(agreed.voters.len() == 5, "five nodes, and these vote: {:?}", agreed.voters);
    // Two of five may die now, and did not before.
    let (said, _) = arena.cluster.ng(4, &["members"])?;
    hold!(said.contains("needed 3"), "{said}");
    for node in [5, 4] {
        remove(&mut arena.cluster, owner, node)?;
    }
    let three = arena.cluster.settle()?;
    let agreed = followed(&arena.cluster)?;
    hold!(agreed.voters == ["n1", "n2", "n3"], "three nodes, and these vote: {:?}", agreed.voters);
    let after = undisturbed(&arena)?;
    hold!(before == after, "generation and lapses of n{owner} before {before:?}, after {after:?}");
    hold!(five.owner == owner && three.owner == owner, "it moved: {owner}, {five:?}, {three:?}");
    arena.rest = three;
    arena.end()
}

fn witness_of_a_pair(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(3, 1), programs)?;
    let owner = arena.rest.owner;
    let before = undisturbed(&arena)?;
    add(&mut arena.cluster, owner, 3, &["--witness"])?;
    followed(&arena.cluster)?;
    arena.rest = arena.cluster.settle()?;
    hold!(before == undisturbed(&arena)?, "the pair was disturbed when its witness came");
    // Now one may die, and the other goes on at once.
    let other = if owner == 1 { 2 } else { 1 };
    let cut = arena.cluster.cut(owner)?;
    let answer = arena.cluster.bed().observer().wait_for(cut.at, SECONDS, |it| it.node == other);
    hold!(answer.is_some(), "with a witness the other takes over");
    arena.cluster.restore(owner)?;
    arena.rest = arena.cluster.settle()?;
    followed(&arena.cluster)?;
    let before = undisturbed(&arena)?;
    remove(&mut arena.cluster, other, 3)?;
    arena.rest = arena.cluster.settle()?;
    hold!(before == undisturbed(&arena)?, "the pair was disturbed when its witness went");
    hold!(followed(&arena.cluster)?.voters == ["n1", "n2"], "a pair again");
    arena.end()
}

/// The agreed text with one thing replaced, in a file on the node.
fn edited(cluster: &Cluster, on: u8, from: &str, to: &str) -> Result<String> {
    let text = order(cluster, on, &["config", "show", "--plain"])?;
    if !text.contains(from) {
        return Err(BedError::Socket {
            node: node_name(on),
            reason: format!("no {from} in {text}"),
        });
    }
    let path = cluster.files(on).config.with_extension(format!("wanted-{}", os::random()));
    fs::write(&path, text.replace(from, to)).context("the wanted file")?;
    Ok(path.display().to_string())
}

fn interval(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(3, 0), programs)?;
    let owner = arena.rest.owner;
    let before = undisturbed(&arena)?;
    for (from, to) in [("10ms", "50ms"), ("50ms", "10ms")] {
        let file = edited(&arena.cluster, owner, from, to)?;
        let said = order(&arena.cluster, owner, &["config", "diff", &file])?;
        hold!(said.contains(&format!("interval {from} -> {to}")), "{said}");
        order(&arena.cluster, owner, &["config", "apply", &file, "--yes"])?;
        let wanted = if to == "50ms" { 50_000_000 } else { 10_000_000 };
        wait_until("the interval to change", SECONDS, || {
            for node in arena.cluster.alive() {
                let status = arena.cluster.status(node).map_err(|error| error.to_string())?;
                if status.heartbeat_interval_ns != wanted {
                    return Err(format!("n{node}: {}", status.heartbeat_interval_ns));
                }
            }
            Ok(())
        })?;
        os::sleep(Duration::from_millis(500));
        hold!(before == undisturbed(&arena)?, "{from} -> {to} disturbed the owner");
    }
    // What the new interval promises: a takeover as at the start.
    let cut = arena.cluster.cut(owner)?;
    let answer = arena.cluster.bed().observer().wait_for(cut.at, SECONDS, |it| it.node != owner);
    let Some(answer) = answer else { return Ok(Verdict::Fail("nobody took over".into())) };
    println!("      takeover {} after the cut", answer.received.since(cut.at));
    arena.end()
}

/// The primary, or the owner, is removed: it hands over first, or its service moves first.
fn removes(programs: &Programs, the_primary: bool) -> Result<Verdict> {
    let mut arena = start(spec(4, 0), programs)?;
    arena.place(false)?;
    let (owner, primary) = (arena.rest.owner, arena.rest.primary);
    let node = if the_primary { primary } else { owner };
    let on = arena.other(&[owner, primary]);
    let before = undisturbed(&arena)?;
    let begin = os::now();
    arena.cluster.bed().observer().record().begin_window();
    remove(&mut arena.cluster, on, node)?;
    arena.rest = arena.cluster.settle()?;
    hold!(followed(&arena.cluster)?.voters.len() == 3, "three are left");
    if the_primary {
        hold!(
            arena.rest.owner == owner && before == undisturbed(&arena)?,
            "the owner was disturbed: {:?}",
            arena.rest
        );
    } else {
        hold!(
            arena.rest.owner != owner && arena.rest.generation == before.0 + 1,
            "not one move: {:?}",
            arena.rest
        );
        // A planned move, not a removal that a lease has to run out for.
        let why = arena
            .cluster
            .client(arena.rest.owner)?
            .why(Some(SERVICE))
            .map_err(socket(arena.rest.owner))?;
        let summary = why.services.first().map(|it| it.summary.clone()).unwrap_or_default();
        hold!(summary.contains("had stopped it"), "it was not stopped first: {summary}");
    }
    println!("      done {} after the order", os::now().since(begin));
    arena.end()
}

fn primary_cut(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(5, 1), programs)?;
    arena.place(false)?;
    let (owner, primary) = (arena.rest.owner, arena.rest.primary);
    add(&mut arena.cluster, owner, 5, &[])?;
    // Anywhere between the agreement and the vote of the new one.
    os::sleep(Duration::from_nanos(os::random() % Duration::from_millis(300).nanos()));
    arena.cluster.cut(primary)?;
    let agreed = followed(&arena.cluster)?;
    hold!(agreed.voters.len() == 5, "the change was agreed, and these vote: {:?}", agreed.voters);
    arena.cluster.restore(primary)?;
    arena.rest = arena.cluster.settle()?;
    followed(&arena.cluster)?;
    arena.end()
}

fn two_at_once(programs: &Programs) -> Result<Verdict> {
    let arena = start(spec(3, 0), programs)?;
    let begun = configuration(&arena.cluster, 1)?;
    let one = edited(&arena.cluster, 1, "10ms", "20ms")?;
    let two = edited(&arena.cluster, 2, "10ms", "30ms")?;
    let run = |node: u8, file: &str| -> Result<std::process::Child> {
        let mut command = Command::new(arena.cluster.bed().programs().path("ng")?);
        command.arg("--run-dir").arg(arena.cluster.files(node).run_dir);
        command.args(["config", "apply", file, "--yes", "--json"]);
        command.stdout(std::process::Stdio::piped());
        command.spawn().context("ng")
    };
    let (first, second) = (run(1, &one)?, run(2, &two)?);
    let ended = [first, second].map(|child| child.wait_with_output());
    let mut codes = Vec::new();
    for output in ended {
        let output = output.context("ng")?;
        codes.push((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let done = codes.iter().filter(|(code, _)| *code == Some(0)).count();
    // Either they meet, and one is told that another came first; or they come one after the other.
    let refused = codes.iter().any(|(code, said)| *code == Some(1) && said.contains("\"changed\""));
    hold!(done == 1 && refused || done == 2, "{codes:?}");
    let agreed = followed(&arena.cluster)?;
    let changes = agreed.version - begun.version;
    hold!(changes == done as u64, "{done} done, {changes} agreed: {codes:?}");
    arena.end()
}

fn services(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(3, 0), programs)?;
    let owner = arena.rest.owner;
    let before = undisturbed(&arena)?;
    let runs = |cluster: &Cluster, name: &str| -> Result<Option<api::Service>> {
        let found = cluster.status(owner)?.services.into_iter().find(|it| it.name == name);
        Ok(found.filter(|it| it.phase == Phase::Running))
    };
    // A second service comes, with an address that the gate has not seen yet.
    let more = "\n[[service]]\nname = \"second\"\nfence = \"lease\"\n[[service.resource]]\n\
                kind = \"address\"\naddress = \"10.77.1.101/24\"\n";
    let text = order(&arena.cluster, owner, &["config", "show", "--plain"])?;
    let path = arena.cluster.files(owner).config.with_extension("more");
    fs::write(&path, format!("{text}{more}")).context("the wanted file")?;
    order(&arena.cluster, owner, &["config", "apply", &path.display().to_string(), "--yes"])?;
    wait_until("the second service to run", SECONDS, || match runs(&arena.cluster, "second") {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    hold!(before == undisturbed(&arena)?, "the first service was disturbed by the second");
    // It gets another address: stopped and started, as its next generation.
    let generation = runs(&arena.cluster, "second")?.map_or(0, |it| it.generation);
    let file = edited(&arena.cluster, owner, "10.77.1.101/24", "10.77.1.102/24")?;
    order(&arena.cluster, owner, &["config", "apply", &file, "--yes"])?;
    wait_until("the second service to run with its new address", SECONDS, || {
        match runs(&arena.cluster, "second") {
            Ok(Some(it))
                if it.generation == generation + 1 && it.resources[0].name.contains("102") =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })?;
    // And it goes.
    let file = edited(&arena.cluster, owner, &more.replace("101", "102"), "")?;
    order(&arena.cluster, owner, &["config", "apply", &file, "--yes"])?;
    wait_until("the second service to be forgotten", SECONDS, || {
        let status = arena.cluster.status(owner).map_err(|error| error.to_string())?;
        if status.services.len() == 1 { Ok(()) } else { Err(format!("{:?}", status.services)) }
    })?;
    hold!(before == undisturbed(&arena)?, "the first service was disturbed when the second went");
    arena.rest = arena.cluster.settle()?;
    arena.end()
}

/// A machine was away while the cluster changed: it comes back with its old file and its old state, and learns.
fn old_file(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(4, 1), programs)?;
    let owner = arena.rest.owner;
    let away = arena.other(&[owner, arena.rest.primary]);
    arena.cluster.cut(away)?;
    wait_until("its removal", SECONDS, || {
        let status = arena.cluster.status(owner).map_err(|error| error.to_string())?;
        let gone =
            status.members.iter().any(|it| it.id == away && it.state == api::MemberState::Down);
        if gone { Ok(()) } else { Err("still there".into()) }
    })?;
    let file = edited(&arena.cluster, owner, "10ms", "20ms")?;
    order(&arena.cluster, owner, &["config", "apply", &file, "--yes"])?;
    add(&mut arena.cluster, owner, 4, &[])?;
    arena.cluster.restore(away)?;
    followed(&arena.cluster)?;
    arena.rest = arena.cluster.settle()?;
    let status = arena.cluster.status(away)?;
    hold!(
        status.members.len() == 4 && status.heartbeat_interval_ns == 20_000_000,
        "it did not learn: {status:?}"
    );
    let told = status.alarms.iter().any(|alarm| alarm.code == "configuration-file");
    hold!(told, "nobody is told that its file is old: {:?}", status.alarms);
    arena.end()
}

fn restart_of_all(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(4, 1), programs)?;
    let owner = arena.rest.owner;
    add(&mut arena.cluster, owner, 4, &[])?;
    followed(&arena.cluster)?;
    let file = edited(&arena.cluster, owner, "10ms", "20ms")?;
    order(&arena.cluster, owner, &["config", "apply", &file, "--yes"])?;
    let before = followed(&arena.cluster)?;
    for node in arena.cluster.alive() {
        arena.cluster.cut(node)?;
    }
    for node in arena.cluster.ids() {
        arena.cluster.restore(node)?;
    }
    arena.rest = arena.cluster.settle()?;
    let after = followed(&arena.cluster)?;
    hold!(
        after.version > before.version && after.hash == before.hash,
        "{before:?}, then {after:?}"
    );
    hold!(after.voters.len() == 4, "the fourth has its vote: {after:?}");
    let status = arena.cluster.status(1)?;
    hold!(
        status.heartbeat_interval_ns == 20_000_000,
        "the old file won: {}",
        status.heartbeat_interval_ns
    );
    arena.end()
}

/// Three of five are gone for good; the two that are left are restarted, and begin anew by the operator's word.
fn override_two(programs: &Programs) -> Result<Verdict> {
    let mut arena = start(spec(5, 0), programs)?;
    for node in [3, 4, 5] {
        arena.cluster.cut(node)?;
    }
    for node in [1, 2] {
        arena.cluster.cut(node)?;
        arena.cluster.restore(node)?;
    }
    wait_until("the two to say what is missing", SECONDS, || {
        let status = arena.cluster.status(1).map_err(|error| error.to_string())?;
        if !status.members.iter().any(|it| it.id == 2 && it.state == api::MemberState::Joining) {
            return Err("n1 does not hear n2 yet".into());
        }
        let health = status.health();
        let remedy = health.problems.first().map(|it| it.remedy.clone()).unwrap_or_default();
        if remedy.contains("ng cluster override --absent") { Ok(()) } else { Err(remedy) }
    })?;
    let refused = ng(&arena.cluster, 1, &["cluster", "override", "--absent", "n2,n3,n4", "--yes"])?;
    hold!(refused.is_err(), "n2 is heard, and was taken for absent");
    order(&arena.cluster, 1, &["cluster", "override", "--absent", "n3,n4,n5", "--yes"])?;
    arena.rest = arena.cluster.settle()?;
    let agreed = configuration(&arena.cluster, 1)?;
    hold!(agreed.voters == ["n1", "n2"] && agreed.wanted.len() == 5, "{agreed:?}");
    // Those who were said to be off come back after all, as new lives, and get their votes back.
    for node in [3, 4, 5] {
        arena.cluster.restore(node)?;
    }
    arena.rest = arena.cluster.settle()?;
    hold!(followed(&arena.cluster)?.voters.len() == 5, "all vote again");
    arena.end()
}

/// A new release comes node by node. What it brings is in force when all have it and the operator says so; from then on an
/// older release takes no part, and says why.
fn releases(programs: &Programs) -> Result<Verdict> {
    let mut cluster = Cluster::prepare(spec(3, 0), programs)?;
    for node in 1..=3 {
        cluster.install(node, if node == 3 { 1 } else { 2 });
        cluster.start_node(node)?;
    }
    let rest = cluster.settle()?;
    let mut arena = Arena { cluster, meter: StallMeter::start(), rest };
    let agreed = configuration(&arena.cluster, 1)?;
    hold!((agreed.level, agreed.understood) == (1, 1), "{agreed:?}");
    let refused = ng(&arena.cluster, 1, &["cluster", "upgrade"])?.err().unwrap_or_default();
    hold!(refused.contains("n3 understands no more"), "refused otherwise: {refused}");
    arena.cluster.install(3, 2);
    arena.cluster.cut(3)?;
    arena.cluster.restore(3)?;
    arena.rest = arena.cluster.settle()?;
    let before = undisturbed(&arena)?;
    wait_until("n1 to see what n3 understands", SECONDS, || {
        let agreed = configuration(&arena.cluster, 1).map_err(|error| error.to_string())?;
        if agreed.understood == 2 { Ok(()) } else { Err(format!("{agreed:?}")) }
    })?;
    order(&arena.cluster, 1, &["cluster", "upgrade"])?;
    hold!(followed(&arena.cluster)?.level == 2, "agreed, and not in force");
    hold!(undisturbed(&arena)? == before, "an upgrade disturbs no service");
    let again = ng(&arena.cluster, 2, &["cluster", "upgrade"])?.err().unwrap_or_default();
    hold!(again.contains("nothing to do"), "asked again: {again}");
    // The old release comes back by mistake.
    arena.cluster.cut(3)?;
    arena.cluster.install(3, 1);
    arena.cluster.restore(3)?;
    arena.cluster.retire(3);
    wait_until("the old release to say what it lacks", SECONDS, || {
        let said = arena.cluster.log(3);
        if said.contains("install the release that the other nodes run") {
            Ok(())
        } else {
            Err(said)
        }
    })?;
    gone(&mut arena.cluster, 3)?;
    arena.end()
}
