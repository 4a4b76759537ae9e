//! The product's daemons in the lab's nodes: an address moves when its owner loses power.

use crate::Test;
use crate::arena::Arena;
use api::Status;
use base::{Duration, Instant};
use lab::error::Context;
use lab::message::Cut;
use lab::{DiskSpec, Lab, LabError, Result, Running};
use proofs::table::Table;
use proofs::watch::Change;
use std::fs;
use std::time::Duration as Limit;
use testbed::cluster::at_rest;
use testbed::hold;
use testbed::os;
use testbed::spec::write_key;
use testbed::stall::StallMeter;
use testbed::suite::Verdict;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "failover-of-an-address", run: failover_of_an_address },
    Test { name: "clock-steps", run: clock_steps },
    Test { name: "bench-failover-in-the-lab", run: bench_failover },
];

/// The floating address.
const FLOATING: &str = "10.20.0.100";
/// Nodes with daemons: name and number.
const MEMBERS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("w", 3)];
/// Cold start, admission and state transfer fit easily.
const SETTLE: Duration = Duration::from_millis(60_000);

/// A cluster in a lab.
struct Cluster<'a> {
    lab: &'a Lab,
    watch: Running,
    daemons: Vec<(u8, Running, Running)>,
}

impl<'a> Cluster<'a> {
    fn start(lab: &'a Lab, interval: &str) -> Result<Self> {
        let share = lab.share();
        write_key(&share.join("cluster.key"))?;
        fs::write(share.join("netguard.toml"), configuration(interval)).context("configuration")?;
        for name in ["a", "b"] {
            // What a node must remember is on a disk that forgets what was not flushed.
            lab.node(name).sh("mkfs.ext4 -q /dev/vda")?;
        }
        let watch = lab.node("c").spawn(&["netguard-proof", "watch", FLOATING])?;
        let mut cluster = Self { lab, watch, daemons: vec![] };
        for (name, id) in MEMBERS {
            cluster.start_node(name, id)?;
        }
        Ok(cluster)
    }

    fn start_node(&mut self, name: &str, id: u8) -> Result<()> {
        let node = self.lab.node(name);
        node.sh("mkdir -p /var/lib/netguard /run/netguard")?;
        if id != 3 {
            node.sh("mount /dev/vda /var/lib/netguard")?;
        }
        // A daemon that ends by itself, because its machine stood still, is started again, as an init
        // system does.
        let daemon = node.spawn(&[
            "sh",
            "-c",
            &format!(
                "while :; do netguard-fast --config /lab/share/netguard.toml --node {name}; done"
            ),
        ])?;
        let id_text = id.to_string();
        let responder = ["--node", &id_text, "--map", "/run/netguard/map"];
        let program = ["netguard-testbed", "responder"];
        let responder = node.spawn(&[&program[..], &responder[..]].concat())?;
        self.daemons.retain(|it| it.0 != id);
        self.daemons.push((id, daemon, responder));
        Ok(())
    }

    fn status(&self, name: &str) -> Result<Status> {
        let text = self.lab.node(name).run(&["ng", "-o", "json", "status"])?;
        serde_json::from_str(&text.stdout).map_err(|error| {
            LabError::Channel(format!("{name}: ng status: {error}: {}{}", text.stdout, text.stderr))
        })
    }

    /// Waits until these nodes agree that they, and nobody else, are members, and who owns.
    fn settle(&self, alive: &[u8]) -> Result<(u8, u64)> {
        let end = os::now() + SETTLE;
        loop {
            let seen = self.at_rest(alive);
            match seen {
                Ok(found) => return Ok(found),
                Err(seen) if os::now() > end => {
                    return Err(LabError::Limit {
                        node: "cluster".into(),
                        what: "rest".into(),
                        seconds: SETTLE.millis() / 1_000,
                        hint: format!("{seen}\n{}", self.last_words()),
                    });
                }
                Err(_) => os::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn at_rest(&self, alive: &[u8]) -> std::result::Result<(u8, u64), String> {
        let mut found = None;
        for (name, id) in MEMBERS {
            if !alive.contains(&id) {
                continue;
            }
            let status = self.status(name).map_err(|error| error.to_string())?;
            let here = at_rest(&status, alive)?;
            if found.is_some_and(|other| other != (here.owner, here.generation)) {
                return Err(format!("{name} sees {here:?}, another {found:?}"));
            }
            found = Some((here.owner, here.generation));
        }
        found.ok_or_else(|| "no node is alive".into())
    }

    fn last_words(&self) -> String {
        let of = |(id, daemon, _): &(u8, Running, Running)| {
            let (out, errors) = daemon.so_far();
            let text = format!("{out}{errors}");
            let lines: Vec<&str> = text.lines().collect();
            format!("node {id}: {}", lines[lines.len().saturating_sub(8)..].join("\n  "))
        };
        self.daemons.iter().map(of).collect::<Vec<_>>().join("\n")
    }

    /// The first answer of another owner since the cut, in times of the host. What changed before is
    /// another's story.
    fn next_owner(&self, after: u8, cut: Instant) -> Result<Change> {
        let clock = self.lab.node("c").clock()?;
        while let Some(line) = self.watch.next_line(Limit::from_secs(20)) {
            let change: Change = serde_json::from_str(&line)
                .map_err(|error| LabError::Channel(format!("{line}: {error}")))?;
            let (last, first) = (clock.to_host(change.last), clock.to_host(change.first));
            if change.node != after && first > cut.0 {
                return Ok(Change { last, first, ..change });
            }
        }
        Err(LabError::Limit {
            node: "c".into(),
            what: format!("an owner other than node {after}"),
            seconds: 20,
            hint: self.last_words(),
        })
    }
}

fn configuration(interval: &str) -> String {
    let mut text = format!(
        "[cluster]\nname = \"lab\"\nkey_file = \"/lab/share/cluster.key\"\n\
         heartbeat_interval = \"{interval}\"\nheartbeat_misses = 3\n"
    );
    for (link, name) in ["service", "storage"].iter().enumerate() {
        text += &format!(
            "\n[[link]]\nname = \"{name}\"\nmode = \"multicast\"\n\
             group = \"239.255.77.{}\"\nport = 5800\n",
            link + 1
        );
    }
    for (name, id) in MEMBERS {
        let witness = if name == "w" { "witness = true\n" } else { "" };
        text += &format!(
            "\n[[node]]\nid = {id}\nname = \"{name}\"\n\
             addresses = [\"10.20.0.{id}\", \"10.20.1.{id}\"]\n{witness}"
        );
    }
    text + "\n[[service]]\nname = \"floating\"\nplacement = \"sticky\"\nfence = \"lease\"\n\
         [[service.resource]]\nkind = \"address\"\n"
        + &format!("address = \"{FLOATING}/24\"\n\n[local]\ncore = \"none\"\n")
}

fn other(node: u8) -> u8 {
    3 - node
}

fn name(node: u8) -> &'static str {
    if node == 1 { "a" } else { "b" }
}

/// A power cut of the owner; `None` if the machine stood still meanwhile.
fn cut_owner(
    cluster: &Cluster<'_>,
    owner: u8,
    meter: &StallMeter,
    limit: Duration,
) -> Result<Option<(Cut, Change)>> {
    let cut = cluster.lab.node(name(owner)).power_off(os::random())?;
    let change = cluster.next_owner(owner, cut.instant())?;
    let (from, to) = (cut.instant(), Instant(change.first));
    let host = meter.overlaps(from, to, limit);
    let guest = cluster.lab.node(name(other(owner))).stall(from, to, limit)?;
    Ok((host.is_none() && guest.is_none()).then_some((cut, change)))
}

/// Twice there and back at 100 ms × 3: who answers, under which generation, and who joins again.
fn failover_of_an_address(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 32, ..DiskSpec::default() };
    let lab = arena.start(&arena.pair().with_disks(&[disk]))?;
    let mut cluster = Cluster::start(&lab, "100ms")?;
    let meter = StallMeter::start();
    let (mut owner, mut generation) = cluster.settle(&[1, 2, 3])?;
    let mut void = 0;
    for _ in 0..2 {
        let trial = cut_owner(&cluster, owner, &meter, Duration::from_millis(50))?;
        void += usize::from(trial.is_none());
        if let Some((cut, change)) = trial {
            hold!(change.node == other(owner), "node {} answers", change.node);
            hold!(
                change.generation > generation,
                "generation {} after {generation}",
                change.generation
            );
            hold!(
                change.last <= cut.killed + 5_000_000,
                "node {owner} answered {} ns after its power was cut",
                change.last - cut.killed
            );
            let took = (change.first - cut.at) / 1_000_000;
            // Two to three intervals of silence, and no more than one for all the rest.
            hold!((180..=400).contains(&took), "taken over after {took} ms, not in 200 to 400");
        }
        let survivors = [other(owner), 3];
        let now = cluster.settle(&survivors)?;
        hold!(now.0 == other(owner), "{} owns it", name(now.0));
        lab.node(name(owner)).power_on()?;
        cluster.start_node(name(owner), owner)?;
        let after = cluster.settle(&[1, 2, 3])?;
        hold!(after == now, "{now:?} became {after:?} when the old owner came back");
        (owner, generation) = after;
    }
    hold!(void < 2, "both trials were void: the machine stood still");
    Ok(Verdict::Pass)
}

/// Somebody sets the wall clocks, here a day ahead and there years back: nothing happens. Only a
/// machine of its own has a wall clock of its own, so this is not a test of the bed.
fn clock_steps(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 32, ..DiskSpec::default() };
    let lab = arena.start(&arena.pair().with_disks(&[disk]))?;
    let cluster = Cluster::start(&lab, "100ms")?;
    let meter = StallMeter::start();
    let before = cluster.settle(&[1, 2, 3])?;
    let lives = |cluster: &Cluster<'_>| -> Result<Vec<_>> {
        let members = cluster.status(name(before.0))?.members.into_iter();
        Ok(members.map(|it| (it.name, it.life, it.stint)).collect())
    };
    let (members, begin) = (lives(&cluster)?, os::now());
    for step in ["+1 day", "-2 years", "+20 years", "+1 second", "1970-01-02", "2026-01-01"] {
        for (node, step) in [("a", step), ("b", "-1 hour"), ("w", "+1 minute")] {
            lab.node(node).run(&["date", "-s", step])?.success()?;
        }
        os::sleep(Duration::from_millis(300));
    }
    let year = lab.node("a").sh("date +%Y")?;
    hold!(year.trim() == "2026", "the clock of a was not set: {year}");
    let after = cluster.settle(&[1, 2, 3])?;
    let now = lives(&cluster)?;
    if (after, &now) != (before, &members) {
        // Two intervals of standstill are a reason of their own.
        let stall = meter.overlaps(begin, os::now(), Duration::from_millis(200));
        hold!(stall.is_some(), "{before:?} {members:?} became {after:?} {now:?}");
        return Ok(Verdict::Skip(format!("the machine stood still: {stall:?}")));
    }
    Ok(Verdict::Pass)
}

/// The same at 10 ms × 3, for the figure: `cargo xtask bench lab`.
fn bench_failover(arena: &Arena) -> Result<Verdict> {
    let disk = DiskSpec { mib: 32, ..DiskSpec::default() };
    let lab = arena.start(&arena.pair().with_disks(&[disk]))?;
    let mut cluster = Cluster::start(&lab, "10ms")?;
    let meter = StallMeter::start();
    let (mut owner, _) = cluster.settle(&[1, 2, 3])?;
    let (mut took, mut void, load) = (vec![], 0, os::load());
    while took.len() < arena.trials && void <= 3 * arena.trials {
        match cut_owner(&cluster, owner, &meter, Duration::from_millis(5))? {
            Some((cut, change)) => took.push((change.first - cut.at) as f64 / 1e6),
            None => void += 1,
        }
        cluster.settle(&[other(owner), 3])?;
        lab.node(name(owner)).power_on()?;
        cluster.start_node(name(owner), owner)?;
        (owner, _) = cluster.settle(&[1, 2, 3])?;
    }
    took.sort_by(f64::total_cmp);
    let at = |part: f64| {
        took.get(((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1)))
    };
    let mut table = Table::new(
        "An address in the lab, 10 ms × 3: from the power cut to the first answer of the new owner (ms)",
        format!("n {}, void {void}, load {load:.1}, kernels 6.1 in User Mode Linux", took.len()),
        &["p50", "p95", "max"],
    );
    let cell = |it: Option<&f64>| it.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
    table.row(&[&cell(at(0.5)), &cell(at(0.95)), &cell(took.last())]);
    table.save(&arena.results, "failover").context("results")?;
    print!("{table}");
    hold!(!took.is_empty(), "every trial was void");
    Ok(Verdict::Pass)
}
