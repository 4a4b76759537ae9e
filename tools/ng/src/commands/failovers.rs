//! `ng failovers`: one timeline per removed node.

use super::Done;
use super::status::word;
use crate::clock::date_and_time;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Tone};
use api::{Evidence, Failover, FailoverService, Failovers};
use netguard::Client;

pub(super) fn run(client: &mut Client, limit: u32, output: &Output) -> Done {
    let failovers = client.failovers(limit)?;
    output.answer(&failovers, |paint| show(&failovers, paint));
    Ok(Exit::Fine)
}

fn show(failovers: &Failovers, paint: Paint) -> String {
    if failovers.failovers.is_empty() {
        return format!("no failover since {} started\n", failovers.node);
    }
    let mut text = format!(
        "as {} saw them, newest first; times in ms since the last beat, and since the deadline\n",
        failovers.node
    );
    for failover in &failovers.failovers {
        text.push('\n');
        text.push_str(&timeline(failover, paint));
    }
    text
}

fn timeline(failover: &Failover, paint: Paint) -> String {
    let number = failover.op.map_or_else(|| "not agreed".into(), |op| format!("#{op}"));
    let victim = paint.tone(Tone::Strong, &failover.victim);
    let mut text = format!(
        "{number}  {victim} (life {}), {}, {} UTC\n",
        failover.life,
        word(&failover.cause),
        date_and_time(failover.unix_ms)
    );
    let clock = Clock { zero: failover.last_heard_ns, deadline: failover.deadline_ns };
    for (step, at) in [
        ("last beat heard", failover.last_heard_ns),
        ("deadline", failover.deadline_ns),
        ("suspected", failover.suspected_ns),
        ("sealed", failover.sealed_ns),
        ("removal agreed", failover.agreed_ns),
    ] {
        text.push_str(&clock.line(2, step, at, paint));
    }
    for service in &failover.services {
        text.push_str(&service_lines(service, &clock, paint));
    }
    text
}

fn service_lines(service: &FailoverService, clock: &Clock, paint: Paint) -> String {
    let to = match &service.to {
        Some(node) => format!("on {node}"),
        None => "not started again".into(),
    };
    let evidence = service.evidence.map(|evidence| format!(" ({})", because(evidence)));
    let mut text = format!(
        "  {} generation {} {to}{}\n",
        paint.tone(Tone::Strong, &service.name),
        service.generation,
        evidence.unwrap_or_default()
    );
    for (step, at) in [
        ("start ordered", service.run_ns),
        ("drivers began", service.driver_began_ns),
        ("drivers done", service.driver_ended_ns),
        ("first answer", service.answered_ns),
        ("running, agreed", service.started_ns),
    ] {
        text.push_str(&clock.line(4, step, at, paint));
    }
    text
}

fn because(evidence: Evidence) -> String {
    match evidence {
        Evidence::NeverOwned => "never owned before".into(),
        Evidence::Stopped { op } => format!("stopped by its owner, #{op}"),
        Evidence::LeaseEnded { op } => format!("the lease had ended, #{op}"),
        Evidence::NewLife { op } => format!("a newer life came, #{op}"),
        Evidence::Operator { op } => format!("confirmed off by the operator, #{op}"),
        Evidence::Unknown => "evidence of a newer release".into(),
    }
}

/// Stamps are shown as distances: what an operator compares with the budget.
struct Clock {
    zero: Option<u64>,
    deadline: Option<u64>,
}

impl Clock {
    fn line(&self, indent: usize, step: &str, at: Option<u64>, paint: Paint) -> String {
        let since = |from: Option<u64>| match (at, from) {
            (Some(at), Some(from)) => {
                format!("{:+.3}", (i128::from(at) - i128::from(from)) as f64 / 1e6)
            }
            _ => "-".into(),
        };
        let step = format!("{}{step}", " ".repeat(indent));
        let from_deadline = format!("{:>10}", since(self.deadline));
        format!("{step:<22}{:>10}{}\n", since(self.zero), paint.tone(Tone::Faint, &from_deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::show;
    use crate::commands::samples::{compare, failovers};
    use crate::text::Paint;

    const PLAIN: Paint = Paint { colour: false };

    #[test]
    fn a_timeline_counts_from_the_last_beat_and_from_the_deadline() {
        let shown = show(&failovers(), PLAIN);
        assert!(shown.contains("drivers done         +30.900    +0.900\n"), "{shown}");
        compare("failovers.txt", &shown);
    }

    #[test]
    fn none_is_said() {
        let none = api::Failovers { node: "n1".into(), failovers: vec![] };
        assert_eq!(show(&none, PLAIN), "no failover since n1 started\n");
    }

    #[test]
    fn stamps_that_are_not_known_or_odd_do_no_harm() {
        let mut odd = failovers();
        odd.failovers[0].last_heard_ns = Some(u64::MAX);
        odd.failovers[0].deadline_ns = None;
        odd.failovers[0].op = None;
        let shown = show(&odd, PLAIN);
        assert!(shown.contains("not agreed  n2"), "{shown}");
    }
}
