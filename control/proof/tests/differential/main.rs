//! The agreed log against another engine: OmniPaxos 0.2 (Ng, Haridi, Carbone: Omni-Paxos, EuroSys
//! 2023), on schedules that both support.
//!
//! *Supported by both*: a fixed set of nodes that never lose their memory; proposals at any node;
//! links that are cut and mended, one way or both, for any pair; delays; a leader that is paused or
//! cut off. Messages of one link stay in order and are lost only while it is cut, because that is
//! what OmniPaxos asks of its links (it is told of each mended link, `reconnected`).
//!
//! *Compared*: in each engine the committed proposals are one order, the same at every node, and no
//! node's order is ever rewritten; what was acknowledged to its proposer stays; after healing both
//! commit new proposals of every node; in the end the same proposals are committed in both: all of
//! them; in ours exactly once each.
//!
//! *Not comparable*: the order itself and who leads when (each engine's own business); how often the
//! other commits a proposal whose answer was lost (it has no client table; counted and printed);
//! anything about restarts without memory, removals, leases and eras, which it does not have.

mod engine;
mod ours;
mod schedule;
mod theirs;

use engine::{Engine, Judge};
use schedule::Schedule;

/// Schedules of an ordinary run; more by `NETGUARD_SCHEDULES`.
const SCHEDULES: u64 = 150;

/// What came of one schedule in one engine.
struct Outcome {
    committed: Vec<u64>,
    again: usize,
}

fn play(engine: &mut dyn Engine, schedule: &Schedule) -> Result<Outcome, String> {
    let mut judge = Judge::new(schedule.nodes);
    let first = every_node_proposes(engine, 2_000_000);
    settle(engine, &mut judge, &first, "the start")?;
    let began = engine.now();
    for (at, event) in &schedule.events {
        while engine.now() < began + at {
            engine.step();
            judge.look(engine)?;
        }
        schedule::perform(engine, event);
    }
    schedule::heal(engine);
    let last = every_node_proposes(engine, 1_000_000);
    let wanted: Vec<u64> = schedule.proposals().chain(last).collect();
    settle(engine, &mut judge, &wanted, "the end")?;
    let committed = judge.order().to_vec();
    let mut once = committed.clone();
    once.sort_unstable();
    once.dedup();
    let again = committed.len() - once.len();
    Ok(Outcome { committed: once, again })
}

fn every_node_proposes(engine: &mut dyn Engine, from: u64) -> Vec<u64> {
    let value = |node| from + u64::from(node);
    (1..=engine.nodes())
        .map(|node| {
            engine.propose(node, value(node));
            value(node)
        })
        .collect()
}

/// Runs until every node has committed what is wanted, and there is a leader.
fn settle(
    engine: &mut dyn Engine,
    judge: &mut Judge,
    wanted: &[u64],
    when: &str,
) -> Result<(), String> {
    let limit = engine.now() + 20_000;
    while !(engine.leader().is_some() && judge.everybody_has(engine, wanted)) {
        if engine.now() >= limit {
            return Err(format!("no progress at {when}: {}", engine.picture()));
        }
        engine.step();
        judge.look(engine)?;
    }
    Ok(())
}

#[test]
fn both_engines_keep_one_order_and_lose_nothing() {
    let schedules = std::env::var("NETGUARD_SCHEDULES").ok().and_then(|n| n.parse().ok());
    let schedules = schedules.unwrap_or(SCHEDULES);
    let (mut proposals, mut again) = (0, 0);
    for seed in 1..=schedules {
        let schedule = Schedule::draw(seed);
        let fail = |who: &str, what: String| panic!("{who}, seed {seed}: {what}\n{schedule:?}");
        let ours = play(&mut ours::cluster(schedule.nodes), &schedule);
        let ours = ours.unwrap_or_else(|what| fail("ours", what));
        let theirs = play(&mut theirs::cluster(schedule.nodes), &schedule);
        let theirs = theirs.unwrap_or_else(|what| fail("OmniPaxos", what));
        assert_eq!(ours.again, 0, "seed {seed}: committed twice, {schedule:?}");
        assert_eq!(ours.committed, theirs.committed, "seed {seed}: {schedule:?}");
        proposals += ours.committed.len();
        again += theirs.again;
    }
    println!(
        "{schedules} schedules, {proposals} proposals committed in both; in the other engine {again} \
         of them more than once"
    );
}
