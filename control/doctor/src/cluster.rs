//! The configuration, the key, and the daemons that use them.

use crate::finding::{Area, Check, Finding};
use config::{Config, Key, Node, Severity};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const FILE: Check = Check {
    area: Area::Cluster,
    name: "configuration",
    why: "the daemons do not start with a file that has errors",
};
const KEY: Check = Check {
    area: Area::Cluster,
    name: "key",
    why: "who can read the key can speak as any node of the cluster (S9)",
};
const ME: Check = Check {
    area: Area::Cluster,
    name: "node",
    why: "links are only checked once it is known which of the nodes this machine is",
};
const DAEMONS: Check = Check {
    area: Area::Cluster,
    name: "daemons",
    why: "only running daemons know what they hear, what their gate is and what they have agreed",
};
const RUNNING_HASH: Check = Check {
    area: Area::Cluster,
    name: "running-configuration",
    why: "once the nodes have agreed on a configuration, only [local] of the file is used",
};
const LAPSES: Check = Check {
    area: Area::Cluster,
    name: "lease-lapses",
    why: "while the lease has lapsed the gate is closed: clients wait, though nobody takes over",
};
const REFUSED: Check = Check {
    area: Area::Cluster,
    name: "refused-frames",
    why: "frames that are refused by reason of key or cluster never count as heard",
};
const VOTES: Check = Check {
    area: Area::Cluster,
    name: "votes",
    why: "until the votes have followed the configuration, the cluster survives what the votes in force survive",
};

/// What the file gave.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Option<Config>,
    pub(crate) key: Option<Key>,
    pub(crate) findings: Vec<Finding>,
}

/// Reads file and key, each for itself: a missing key does not hide what the file says.
pub(crate) fn load(path: &Path) -> Loaded {
    let mut findings = Vec::new();
    let config = match config::load_without_key(path) {
        Ok((config, warnings)) => {
            let hash = format!("{}: hash {:016x}", path.display(), config.config_hash());
            findings.push(match warnings.count(Severity::Warning) {
                0 => FILE.ok(hash),
                n => FILE.notice(format!("{hash}; warnings: {n}"), check_command(path)),
            });
            Some(config)
        }
        Err(report) => {
            let first = report.diagnostics.iter().find(|it| it.severity == Severity::Error);
            let what = first.map_or_else(|| "not usable".into(), |it| it.message.clone());
            let remedy = first.map_or_else(|| check_command(path), |it| it.remedy.clone());
            let more = report.count(Severity::Error).saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            findings.push(FILE.failure(format!("{}: {what}{more}", path.display()), remedy));
            None
        }
    };
    let key = config.as_ref().and_then(|config| {
        let file = &config.cluster.key_file;
        match config::read_key(file) {
            Ok(key) => {
                let mode = std::fs::metadata(file).map_or(0, |meta| meta.permissions().mode());
                findings.push(KEY.ok(format!("{}, mode {:04o}", file.display(), mode & 0o7777)));
                Some(key)
            }
            Err(fault) => {
                findings.push(KEY.failure(fault.to_string(), fault.remedy()));
                None
            }
        }
    });
    Loaded { config, key, findings }
}

fn check_command(path: &Path) -> String {
    format!("ng config check {}", path.display())
}

/// Which of the nodes this machine is: by order, by what the daemons say, or by its addresses.
pub(crate) fn identify<'c>(
    config: &'c Config,
    ordered: Option<&str>,
    running: Option<&str>,
    here: &[std::net::IpAddr],
) -> (Option<&'c Node>, Finding) {
    if let Some(name) = ordered.or(running) {
        return match config.for_node(name) {
            Ok(node) => (Some(node), ME.ok(format!("{name}, {} of the file", id(node)))),
            Err(unknown) => (None, ME.failure(unknown.to_string(), unknown.remedy())),
        };
    }
    let mine = config.nodes.iter().filter(|it| it.addresses.iter().any(|a| here.contains(a)));
    let mine: Vec<&Node> = mine.collect();
    match mine.as_slice() {
        [one] => (Some(one), ME.ok(format!("{}, by its address", one.name))),
        [] => (None, ME.failure("no node of the file has an address of this machine", NAME_IT)),
        _ => (None, ME.failure("several nodes have addresses of this machine", NAME_IT)),
    }
}

const NAME_IT: &str = "give its name with --node, and the machine the addresses of the file";

fn id(node: &Node) -> String {
    format!("id {}", node.id)
}

/// `asked`: what the daemons said, or why they did not.
pub(crate) fn judge_daemons(
    config: Option<&Config>,
    asked: Result<&api::Status, &str>,
    counters: &BTreeMap<String, u64>,
) -> Vec<Finding> {
    let status = match asked {
        Ok(status) => status,
        Err(why) => {
            return vec![DAEMONS.unchecked(
                format!(
                    "{why}. Without them: no running-configuration, refused-frames, group, \
                     gate-attached; peer-heard and takeover-budget know less"
                ),
                "start netguard-fast and run this again",
            )];
        }
    };
    let health = status.health();
    let mut found = vec![if health.fine {
        DAEMONS.ok(format!("life {} runs, all is fine", status.life))
    } else {
        let problems = health.problems.len();
        DAEMONS.warning(format!("life {} runs; problems: {problems}", status.life), "ng status")
    }];
    if let Some(config) = config {
        let file = format!("{:016x}", config.config_hash());
        let runs = || format!("the daemons run with {}, the file is {file}", status.config_hash);
        found.push(match status.configuration.version {
            _ if file == status.config_hash => RUNNING_HASH.ok(format!("{file}, as in the file")),
            0 => RUNNING_HASH.warning(
                runs(),
                "put one file on all nodes and restart them, or name the right one with --config",
            ),
            version => RUNNING_HASH.notice(
                format!("{}; version {version} is agreed", runs()),
                "`ng config apply FILE` makes it so, or put into it what `ng config show --plain` prints",
            ),
        });
    }
    let pending = status.configuration.pending.iter().map(api::PendingVote::line);
    let pending = pending.collect::<Vec<_>>().join("; ");
    found.push(if pending.is_empty() {
        let (version, voters) = (status.configuration.version, &status.configuration.voters);
        VOTES.ok(format!("version {version}: {}", voters.join(", ")))
    } else {
        VOTES.notice(pending, "start the nodes that are named; the votes follow by themselves")
    });
    found.push(match status.lease.lapses {
        0 => LAPSES.ok("none since the daemons started"),
        n => LAPSES.notice(
            format!("{n} since the daemons started"),
            "see lost beats in `ng members`, stalls in `ng stat`; more misses forgive more",
        ),
    });
    found.push(refused(counters));
    found
}

/// Counters of frames that somebody else's key, cluster or file made.
fn refused(counters: &BTreeMap<String, u64>) -> Finding {
    let bad: Vec<String> = counters
        .iter()
        .filter(|(name, count)| {
            let reason = name.rsplit('.').next().unwrap_or_default();
            let foreign = ["foreign_key", "forged", "impostor", "version"];
            name.contains(".reject.") && **count > 0 && foreign.contains(&reason)
        })
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if counters.is_empty() {
        return REFUSED.unchecked("the shared map cannot be read", "run as root");
    }
    if bad.is_empty() {
        return REFUSED.ok("none since the daemons started");
    }
    REFUSED.warning(
        bad.join(", "),
        "the same netguard.toml and key file on all nodes; each node a state directory of its own",
    )
}

#[cfg(test)]
mod tests {
    use super::{identify, judge_daemons, load};
    use crate::finding::Grade;
    use config::Config;
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::path::Path;

    fn config() -> Config {
        let text = "[cluster]\nname = \"t\"\nkey_file = \"k\"\n[[link]]\nname = \"a\"\n\
                    mode = \"unicast\"\nport = 5800\n\
                    [[node]]\nid = 1\nname = \"n1\"\naddresses = [\"10.0.0.1\"]\n\
                    [[node]]\nid = 2\nname = \"n2\"\naddresses = [\"10.0.0.2\"]\n";
        config::parse("test", text).unwrap_or_else(|e| panic!("{e}")).0
    }

    #[test]
    fn a_machine_is_known_by_order_by_its_daemons_or_by_its_addresses() {
        let config = config();
        let here: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let name = |ordered, running, here: &[IpAddr]| {
            identify(&config, ordered, running, here).0.map(|node| node.name.clone())
        };
        assert_eq!(name(None, None, &here).as_deref(), Some("n2"));
        assert_eq!(name(Some("n1"), Some("n2"), &here).as_deref(), Some("n1"));
        assert_eq!(name(None, Some("n1"), &here).as_deref(), Some("n1"));
        assert_eq!(name(None, None, &[]), None);
        let (_, unknown) = identify(&config, Some("n3"), None, &here);
        assert_eq!(unknown.grade, Grade::Failure);
        let both: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        assert_eq!(name(None, None, &both), None);
    }

    #[test]
    fn a_file_that_is_not_there_is_a_failure_with_a_remedy() {
        let loaded = load(Path::new("/nonexistent/netguard.toml"));
        assert!(loaded.config.is_none() && loaded.key.is_none());
        assert_eq!((loaded.findings.len(), loaded.findings[0].grade), (1, Grade::Failure));
        assert!(!loaded.findings[0].remedy.is_empty());
    }

    #[test]
    fn a_file_that_differs_from_what_runs_is_told() {
        let config = config();
        let mut status = api::Status {
            config_hash: format!("{:016x}", config.config_hash()),
            ..api::Status::default()
        };
        status.quorum.held = true;
        let counters: BTreeMap<_, _> = [("fast.beats".to_owned(), 5)].into();
        let found = judge_daemons(Some(&config), Ok(&status), &counters);
        assert!(found.iter().all(|finding| finding.grade == Grade::Ok), "{found:?}");
        status.config_hash = "0".into();
        status.lease.lapses = 2;
        let counters: BTreeMap<_, _> = [("fast.reject.foreign_key".to_owned(), 5)].into();
        let found = judge_daemons(Some(&config), Ok(&status), &counters);
        let grades: Vec<Grade> = found[1..].iter().map(|finding| finding.grade).collect();
        assert_eq!(grades, [Grade::Warning, Grade::Ok, Grade::Notice, Grade::Warning]);
        status.configuration.version = 7;
        let agreed = judge_daemons(Some(&config), Ok(&status), &counters);
        assert_eq!(agreed[1].grade, Grade::Notice, "the file is not used");
        status.configuration.pending = vec![api::PendingVote {
            node: "n4".into(),
            gives: true,
            why: "it has not joined".into(),
        }];
        let waits = judge_daemons(Some(&config), Ok(&status), &counters);
        assert_eq!(
            (waits[2].grade, waits[2].measured.as_str()),
            (Grade::Notice, "n4 waits for its vote: it has not joined")
        );
        assert_eq!(found[4].measured, "fast.reject.foreign_key 5");
    }

    #[test]
    fn without_daemons_it_is_said_which_checks_need_them() {
        let found = judge_daemons(None, Err("nothing listens"), &BTreeMap::new());
        assert_eq!((found.len(), found[0].grade), (1, Grade::Notice));
        assert!(found[0].measured.contains("gate-attached"));
    }
}
