//! `ng bench failover`: power cuts of a service's owner, by the operator's own command, and for how long its address is silent.

use super::super::Done;
use super::{Counts, conclude, core_of, disk, stopped};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use api::{Phase, Service, Status};
use base::{Duration, Instant};
use harness::os;
use harness::page::{Figures, Page, Verdict};
use harness::ping::{Pinger, longest_silence};
use harness::plot::Curve;
use harness::surroundings::{Counters, describe};
use netguard::Client;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

/// What is asked before the cut, and after the address is there again.
const AROUND: Duration = Duration::from_millis(1_000);
/// A service that does not come back at all.
const TAKEOVER: Duration = Duration::from_millis(60_000);
/// A node may take so long to boot and be admitted.
const BOOT: Duration = Duration::from_millis(900_000);
/// The promise beyond the deadline (DESIGN section 4).
const AFTER_DEADLINE_MS: f64 = 10.0;
const SILENCE: &str = "the address does not answer";

/// What was asked for.
pub(in super::super) struct Order<'a> {
    pub(in super::super) service: &'a str,
    pub(in super::super) cut: &'a str,
    pub(in super::super) restore: Option<&'a str>,
    pub(in super::super) trials: u32,
    pub(in super::super) out: &'a Path,
}

/// Refuses without the operator's word.
pub(in super::super) fn may_cut(
    service: &str,
    trials: u32,
    restore: bool,
    yes: bool,
) -> Result<(), Failure> {
    if !yes {
        let message = format!(
            "this cuts the power of the node that owns {service}; clients of its services notice"
        );
        let remedy = "repeat it with --yes-cut-power";
        return Err(Failure::new(Exit::Usage, "not-confirmed", message, remedy));
    }
    if trials > 1 && !restore {
        let message = "after the first cut the node stays off, and there is no second one to cut";
        return Err(Failure::new(
            Exit::Usage,
            "no-restore",
            message,
            "give --restore, or one trial",
        ));
    }
    Ok(())
}

pub(in super::super) fn run(client: &mut Client, order: &Order<'_>, output: &Output) -> Done {
    os::catch_interrupts();
    let status = client.status()?;
    let address = address(find(&status, order.service)?)?;
    let core = core_of(std::process::id());
    let before = Counters::read(core);
    let mut silences: Counts = Vec::new();
    for number in 1..=order.trials {
        let victim =
            wait(client, "every node to be a member and the service to run", BOOT, |status| {
                let owner = find(status, order.service)
                    .ok()
                    .filter(|it| it.phase == Phase::Running)?
                    .owner
                    .clone()?;
                let whole =
                    status.members.iter().all(|member| member.state == api::MemberState::Member);
                whole.then_some(owner)
            })?;
        if victim == status.node {
            let message = format!("{victim} owns {}, and cannot watch its own end", order.service);
            let remedy = "run this on another node, or move the service first";
            return Err(Failure::new(Exit::Refused, "own-service", message, remedy));
        }
        let pinger = Pinger::start(address).map_err(no_ping)?;
        os::sleep(AROUND);
        if pinger.answers().is_empty() {
            let message = format!("{address} does not answer pings");
            let remedy = "let ICMP echo pass from this node to the address";
            return Err(Failure::new(Exit::Refused, "no-answer", message, remedy));
        }
        shell(order.cut, &victim)?;
        wait(client, "another node to run the service", TAKEOVER, |status| {
            let service = find(status, order.service).ok()?;
            let moved = service.phase == Phase::Running && service.owner.as_ref() != Some(&victim);
            moved.then_some(())
        })?;
        os::sleep(AROUND);
        let answers = pinger.answers();
        drop(pinger);
        let Some((_, silence)) = longest_silence(&answers) else {
            let message = format!("{address} has not answered since the cut");
            return Err(Failure::new(
                Exit::Refused,
                "no-answer",
                message,
                "`ng failovers` shows what happened",
            ));
        };
        output.tell(|_| {
            format!("{number} of {}: {victim} cut, silent for {silence}\n", order.trials)
        });
        silences.push((silence, 1));
        if let Some(restore) = order.restore {
            shell(restore, &victim)?;
        }
    }
    let mut page = page(&status, order, &silences);
    page.machine = describe(core, &before, &Counters::read(core));
    conclude(&page, std::iter::once((SILENCE, &silences)), ("failover", order.out), output)
}

fn page(status: &Status, order: &Order<'_>, silences: &Counts) -> Page {
    let limit = status.deadline_ns as f64 / 1e6 + AFTER_DEADLINE_MS;
    let row = Figures::of(SILENCE, silences);
    let worst = row.as_ref().map_or(f64::INFINITY, |row| row.max_ms);
    Page {
        title: format!("NetGuard, failover of {}: {}", order.service, status.cluster),
        about: format!(
            "{} power cuts of the owner by `{}`; {} asked the address every millisecond. The silence is from the last question \
             that was answered before, to the first answer after.",
            order.trials, order.cut, status.node
        ),
        verdicts: vec![Verdict {
            holds: worst < limit,
            text: format!(
                "the longest silence is {worst:.1} ms, the deadline and {AFTER_DEADLINE_MS} ms are {limit:.1}"
            ),
        }],
        rows: row.into_iter().collect(),
        machine: Vec::new(),
        plots: vec![(
            "Silence of the address; share of the cuts".into(),
            vec![Curve::of_counts(SILENCE, silences)],
        )],
    }
}

fn find<'s>(status: &'s Status, name: &str) -> Result<&'s Service, Failure> {
    status.services.iter().find(|service| service.name == name).ok_or_else(|| {
        let known: Vec<&str> =
            status.services.iter().map(|service| service.name.as_str()).collect();
        let remedy = format!("name one of: {}", known.join(", "));
        Failure::new(
            Exit::Refused,
            "unknown-service",
            format!("there is no service {name}"),
            remedy,
        )
    })
}

/// The first address of a service.
fn address(service: &Service) -> Result<IpAddr, Failure> {
    let named = service.resources.iter().filter(|resource| resource.kind == "address");
    let mut read = named.filter_map(|resource| resource.name.split('/').next()?.parse().ok());
    read.next().ok_or_else(|| {
        let message = format!("{} has no address that could be asked", service.name);
        Failure::new(Exit::Refused, "no-address", message, "name a service with an address")
    })
}

/// Asks the daemon until `look` sees what is wanted.
fn wait<T>(
    client: &mut Client,
    what: &str,
    limit: Duration,
    look: impl Fn(&Status) -> Option<T>,
) -> Result<T, Failure> {
    let end: Instant = os::now() + limit;
    loop {
        if let Some(seen) = look(&client.status()?) {
            return Ok(seen);
        }
        if os::interrupted() {
            return Err(stopped());
        }
        if os::now() > end {
            let message = format!("waited {} s for {what}", limit.millis() / 1_000);
            return Err(Failure::new(
                Exit::Refused,
                "timeout",
                message,
                "`ng status` says what is missing",
            ));
        }
        os::sleep(Duration::from_millis(50));
    }
}

/// Runs the operator's command.
fn shell(line: &str, node: &str) -> Result<(), Failure> {
    let status =
        Command::new("sh").args(["-c", line]).env("NETGUARD_NODE", node).status().map_err(disk)?;
    if status.success() {
        return Ok(());
    }
    let message = format!("`{line}` for {node} ended with {status}");
    Err(Failure::new(Exit::Refused, "command", message, "see what it printed"))
}

fn no_ping(error: std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::PermissionDenied {
        Exit::Permission
    } else {
        Exit::Refused
    };
    Failure::new(exit, "permission", format!("cannot ask the address: {error}"), "run it as root")
}

#[cfg(test)]
mod tests {
    use super::{Order, address, find, may_cut, page};
    use crate::commands::samples::status;
    use crate::failure::Exit;
    use base::Duration;
    use std::path::Path;

    #[test]
    fn nothing_is_cut_without_the_operators_word() {
        assert_eq!(may_cut("web", 1, false, false).unwrap_err().exit, Exit::Usage);
        assert_eq!(may_cut("web", 2, false, true).unwrap_err().code, "no-restore");
        assert!(may_cut("web", 1, false, true).is_ok() && may_cut("web", 2, true, true).is_ok());
    }

    #[test]
    fn the_promise_is_the_deadline_and_ten_milliseconds() {
        let order =
            Order { service: "web", cut: "x", restore: None, trials: 1, out: Path::new("y") };
        let deadline = Duration(status().deadline_ns);
        let of = |extra_ms| {
            page(&status(), &order, &vec![(deadline + Duration::from_millis(extra_ms), 1)]).holds()
        };
        assert!(of(9) && !of(10));
        assert!(!page(&status(), &order, &Vec::new()).holds(), "nothing was measured");
    }

    #[test]
    fn the_services_address_is_asked() {
        let status = status();
        let service = status
            .services
            .iter()
            .find(|it| it.resources.iter().any(|r| r.kind == "address"))
            .unwrap();
        assert!(address(find(&status, &service.name).unwrap()).is_ok());
        assert_eq!(find(&status, "nobody").unwrap_err().code, "unknown-service");
    }
}
