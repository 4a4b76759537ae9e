//! Takes every sample, those that need seconds side by side, and has each judged.

use crate::finding::{Area, Check, Finding, Report};
use crate::links::{Ground, Links};
use crate::{
    clock, cluster, cores, gate_rehearsal, os, policy, rights, stalls, surroundings, takeover,
};
use base::Duration;
use config::{Config, Fence, Local, Resource};
use driver_address::interface;
use driver_address::netlink::Netlink;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

const THREADS: Check = Check {
    area: Area::Scheduling,
    name: "measuring",
    why: "a check that could not be made says nothing about the machine",
};
/// What to examine.
#[derive(Clone, Debug)]
pub struct Request {
    /// The configuration file.
    pub config: PathBuf,
    /// Which node this machine is, if the operator says so.
    pub node: Option<String>,
    /// How long to listen on the links.
    pub listen: Duration,
    /// How long to measure stalls and stolen time.
    pub measure: Duration,
    /// What the daemons of this machine say.
    pub asked: Asked,
}

/// What the daemons of this machine say of themselves.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The state, or why there is none.
    pub status: Result<api::Status, String>,
    /// The failovers that were seen; empty without daemons.
    pub failovers: api::Failovers,
    /// The shared map's counters; empty if there is no map.
    pub counters: BTreeMap<String, u64>,
    /// Process id of netguard-fast, if it runs.
    pub pid: Option<u32>,
}

/// What the configuration sets, or its defaults where there is none.
struct Times {
    interval: Duration,
    deadline: Duration,
}

impl Times {
    fn of(config: Option<&Config>) -> Self {
        let span =
            |it: std::time::Duration| Duration(u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
        match config {
            Some(config) => Self {
                interval: span(config.cluster.heartbeat_interval),
                deadline: span(config.deadline()),
            },
            None => {
                Self { interval: Duration::from_millis(10), deadline: Duration::from_millis(30) }
            }
        }
    }
}

/// Examines this machine. Takes as long as the longer of the two times of the request, and about a
/// second more.
#[must_use]
pub fn examine(request: &Request) -> Report {
    let asked = &request.asked;
    let status = asked.status.as_ref().ok();
    let loaded = cluster::load(&request.config);
    let mut found = loaded.findings;
    let config = loaded.config.as_ref();
    let me = config.and_then(|config| {
        let running = status.map(|status| status.node.as_str());
        let name = request.node.as_deref();
        let (me, finding) = cluster::identify(config, name, running, &own_addresses());
        found.push(finding);
        me
    });
    let known = asked.status.as_ref().map_err(String::as_str);
    found.extend(cluster::judge_daemons(config, known, &asked.counters));

    let local = config.map_or_else(Local::default, |config| config.local.clone());
    let times = Times::of(config);
    let core = cores::sample(local.core);
    let priority = local.realtime_priority;
    let (chosen, measure) = (core.chosen(), request.measure);
    std::thread::scope(|scope| {
        let interval = times.interval;
        let loop_thread = scope.spawn(move || stalls::sample(chosen, priority, interval, measure));
        let links = config.zip(me).map(|(config, me)| {
            let (key, status) = (loaded.key.as_ref(), status);
            Links::start(scope, &Ground { config, me, key, status, listen: request.listen })
        });
        // Short looks while the others measure.
        let time = clock::sample();
        found.extend(clock::judge(&time));
        let time = surroundings::sample_time(time.steering.as_ref().ok());
        found.push(surroundings::judge_time(&time));
        found.extend(rights::judge(&rights::sample(priority, asked.pid)));
        found.extend(cores::judge(&core));
        if let Some(links) = links {
            found.extend(links.finish());
        }
        match loop_thread.join() {
            Ok(facts) => found.extend(stalls::judge(&facts, times.interval, times.deadline)),
            Err(_) => found.push(THREADS.unchecked("the measuring thread died", "report this")),
        }
        found.extend(status.map(stalls::judge_budget));
    });
    if let Some(config) = config {
        let ports: Vec<u16> =
            config.links.iter().flat_map(|link| [link.port, link.port.saturating_add(1)]).collect();
        let rules = surroundings::sample_filter();
        found.push(surroundings::judge_filter(rules.as_deref(), &ports));
        found.extend(policy::judge(config));
    }
    found.extend(gate(config, status));
    found.extend(rehearsal(config, &times, asked));
    Report::new(me.map(|me| me.name.clone()), found)
}

/// Alone, after everything that measures time.
fn gate(config: Option<&Config>, status: Option<&api::Status>) -> Vec<Finding> {
    let needed =
        config.is_some_and(|config| config.services.iter().any(|it| it.fence == Fence::Lease));
    let mut found = gate_rehearsal::judge(&gate_rehearsal::sample(), needed);
    found.extend(status.map(|status| gate_rehearsal::judge_standing(&status.gate, needed)));
    found
}

fn rehearsal(config: Option<&Config>, times: &Times, asked: &Asked) -> Vec<Finding> {
    let services = config.map(|config| config.services.as_slice()).unwrap_or_default();
    let address = services.iter().flat_map(|service| &service.resources).find_map(|it| match it {
        Resource::Address { address, prefix, .. } => Some((*address, *prefix)),
        Resource::Command { .. } => None,
    });
    let agreements = takeover::agreements(&asked.failovers);
    let rehearsed = takeover::rehearse(address);
    let mut found = takeover::judge(&rehearsed, times.deadline, &agreements, os::is_root());
    found.extend(takeover::judge_seen(&asked.failovers));
    found
}

fn own_addresses() -> Vec<IpAddr> {
    let all = Netlink::route().and_then(|mut netlink| interface::addresses(&mut netlink));
    all.map(|all| all.iter().map(|at| at.address).collect()).unwrap_or_default()
}
