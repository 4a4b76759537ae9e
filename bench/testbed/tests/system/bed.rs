//! The bed itself: an observer that does not see two owners would prove nothing.

use crate::Test;
use base::Duration;
use std::process::Command;
use testbed::bed::Bed;
use testbed::error::{Result, run};
use testbed::hold;
use testbed::os;
use testbed::probe::Via;
use testbed::programs::Programs;
use testbed::suite::Verdict;
use testbed::topology::{FLOATING, Shape};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "bed-sees-a-takeover", run: sees_a_takeover },
    Test { name: "bed-sees-two-owners", run: sees_two_owners },
];

/// Two nodes whose owners are moved by hand: n1 answers as generation 1, n2 as generation 2.
fn by_hand(programs: &Programs) -> Result<Bed> {
    let mut bed = Bed::build(Shape { nodes: 2, links: 2 }, programs.clone())?;
    bed.start_responder(1, &["--generation", "1"])?;
    bed.start_responder(2, &["--generation", "2"])?;
    address(&bed, "add", 1)?;
    Ok(bed)
}

fn address(bed: &Bed, verb: &str, node: u8) -> Result<()> {
    let name = bed.topology().node(node).name();
    let address = format!("{FLOATING}/24");
    run(Command::new("ip").args(["-n", name, "address", verb, &address, "dev", "eth0"]))?;
    // In place of a gratuitous ARP: the client asks anew.
    let client = bed.topology().client().name();
    run(Command::new("ip").args(["-n", client, "neigh", "flush", "all"])).map(drop)
}

const SECONDS: Duration = Duration::from_millis(5_000);

fn sees_a_takeover(programs: &Programs) -> Result<Verdict> {
    let mut bed = by_hand(programs)?;
    let begin = os::now();
    let first = bed.observer().wait_for(begin, SECONDS, |it| it.node == 1);
    hold!(first.is_some_and(|it| it.generation == 1), "n1 does not answer: {first:?}");
    let direct = |bed: &Bed| bed.observer().record().answers().1;
    hold!(direct(&bed) > 0, "no direct probe was answered");

    let cut = bed.cut(1)?;
    os::sleep(Duration::from_millis(100));
    let late = bed.observer().record().first_answer(cut.done, |_| true);
    hold!(late.is_none(), "a node without power answers: {late:?}");
    hold!(bed.topology().node(1).processes().is_empty(), "something survived the cut");
    hold!(
        cut.done.since(cut.at) < Duration::from_millis(10),
        "the cut took {}",
        cut.done.since(cut.at)
    );

    address(&bed, "add", 2)?;
    let answer = bed.observer().wait_for(cut.at, SECONDS, |it| it.generation == 2);
    hold!(answer.is_some_and(|it| it.node == 2 && it.via == Via::Kernel), "n2 does not answer");

    bed.restore(1)?;
    bed.start_responder(1, &["--generation", "1"])?;
    os::sleep(Duration::from_millis(100));
    let record = bed.observer().record();
    hold!(record.violation_count() == 0, "false alarm: {:?}", record.violations());
    hold!(record.owners() == [(1, 1), (2, 2)], "owners seen: {:?}", record.owners());
    Ok(Verdict::Pass)
}

fn sees_two_owners(programs: &Programs) -> Result<Verdict> {
    let bed = by_hand(programs)?;
    let begin = os::now();
    hold!(bed.observer().wait_for(begin, SECONDS, |it| it.node == 1).is_some(), "n1 is silent");
    // n2 takes the address while n1 still has it: the client talks to one of them only.
    address(&bed, "add", 2)?;
    os::sleep(Duration::from_millis(100));
    let record = bed.observer().record();
    hold!(record.violation_count() > 0, "two nodes had the address, and nobody saw it");
    Ok(Verdict::Pass)
}
