//! What the configuration means when a node dies: votes (S8) and proof (S3).

use crate::finding::{Area, Check, Finding};
use config::{Config, Fence, Service};

const VOTES: Check = Check {
    area: Area::Policy,
    name: "votes",
    why: "without a majority of the configured votes nothing runs (S8)",
};
const PROOF: Check = Check {
    area: Area::Policy,
    name: "fence-policy",
    why: "the next owner starts after the lease's end (lease) or after proof (fenced), S3",
};
const PLACES: Check = Check {
    area: Area::Policy,
    name: "places",
    why: "a service needs a second node that may own it",
};

pub(crate) fn judge(config: &Config) -> Vec<Finding> {
    let mut found = vec![votes(config)];
    for service in &config.services {
        found.push(proof(config, service).about(&service.name));
        found.extend(places(service).map(|finding| finding.about(&service.name)));
    }
    found
}

fn is_bare_pair(config: &Config) -> bool {
    config.nodes.len() == 2
}

fn votes(config: &Config) -> Finding {
    let nodes = config.nodes.len();
    let need = nodes / 2 + 1;
    let spare = nodes - need.min(nodes);
    let witnesses = config.nodes.iter().filter(|node| node.witness).count();
    let measured = format!("{nodes} votes ({witnesses} of witnesses), a majority is {need}");
    match nodes {
        0 | 1 => VOTES.warning(
            format!("{measured}: nobody can take over"),
            "add a second node and a witness to netguard.toml",
        ),
        2 => VOTES.warning(
            format!(
                "{measured}: a bare pair. When one dies the other stops too, until you have \
                 switched the dead one off and say so"
            ),
            "add a third [[node]] with witness = true, on any small box; until then `ng fence \
             confirm NODE` after a death",
        ),
        _ if nodes.is_multiple_of(2) => VOTES.notice(
            format!("{measured}: survives {spare} deaths, as many as with one node less"),
            "add a witness, so that one half can go on when the network falls in two",
        ),
        _ => VOTES.ok(format!(
            "{measured}: survives {spare} {}",
            if spare == 1 { "death" } else { "deaths" }
        )),
    }
}

fn proof(config: &Config, service: &Service) -> Finding {
    // The configuration refuses it; this page may be read with a file that is not checked.
    let unbound = service.resources.iter().find(|resource| !resource.lease_bound());
    match (service.fence, unbound) {
        (Fence::Lease, Some(resource)) => PROOF.failure(
            format!("lease, but {} {} goes on without one", resource.kind(), resource.name()),
            "set fence = \"fenced\", or take the resource out",
        ),
        (Fence::Lease, None) if is_bare_pair(config) => PROOF.notice(
            "lease; but in a bare pair a death waits for you all the same",
            "ng fence confirm NODE, after switching it off",
        ),
        (Fence::Lease, None) => PROOF.ok("lease: taken over at once"),
        (Fence::Fenced, _) => PROOF.notice(
            "fenced, without a fence agent: after a death it waits until the node is back or you \
             confirm that it is off",
            match unbound {
                None => {
                    "ng fence confirm NODE; all of it is lease-bound, so fence = \"lease\" would \
                         move it at once"
                }
                Some(_) => "ng fence confirm NODE, after switching it off",
            },
        ),
    }
}

fn places(service: &Service) -> Option<Finding> {
    let alone = service.nodes.len() == 1;
    alone.then(|| {
        PLACES.warning("one node may own it: its death is the service's", "add another to `nodes`")
    })
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::finding::{Finding, Grade};

    /// A cluster of `nodes` with one service.
    fn found(nodes: usize, fence: &str, owners: &str, kind: &str) -> Vec<Finding> {
        let mut text = "[cluster]\nname = \"t\"\nkey_file = \"k\"\n[[link]]\nname = \"a\"\n\
                        mode = \"unicast\"\nport = 5800\n"
            .to_owned();
        for n in 1..=nodes {
            let node =
                format!("[[node]]\nid = {n}\nname = \"n{n}\"\naddresses = [\"10.0.0.{n}\"]\n");
            text.push_str(&node);
        }
        text.push_str(&format!("[[service]]\nname = \"web\"\nfence = \"{fence}\"\n{owners}"));
        text.push_str("[[service.resource]]\n");
        text.push_str(kind);
        let (config, _) = config::parse("test", &text).unwrap_or_else(|e| panic!("{e}"));
        judge(&config)
    }

    const ADDRESS: &str = "kind = \"address\"\naddress = \"10.0.0.100/24\"\n";
    const COMMAND: &str = "kind = \"command\"\nrun = [\"/bin/true\"]\n";

    fn grades(found: &[Finding]) -> Vec<Grade> {
        found.iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn three_votes_and_a_lease_are_fine() {
        assert_eq!(grades(&found(3, "lease", "", ADDRESS)), [Grade::Ok, Grade::Ok]);
    }

    #[test]
    fn a_bare_pair_is_told_what_a_death_costs() {
        let pair = found(2, "lease", "", ADDRESS);
        assert_eq!(grades(&pair), [Grade::Warning, Grade::Notice]);
        assert!(pair[0].remedy.contains("witness = true"));
        assert!(pair[1].remedy.contains("ng fence confirm"));
        assert_eq!(grades(&found(4, "lease", "", ADDRESS))[0], Grade::Notice);
    }

    #[test]
    fn fenced_without_agents_waits_and_says_for_what() {
        let address = found(3, "fenced", "", ADDRESS).remove(1);
        assert!(address.remedy.contains("fence = \"lease\" would"), "{}", address.remedy);
        let command = found(3, "fenced", "", COMMAND).remove(1);
        assert_eq!(command.grade, Grade::Notice);
        assert!(!command.remedy.contains("would"));
    }

    #[test]
    fn a_service_with_one_node_is_told() {
        let one = found(3, "lease", "nodes = [\"n1\"]\n", ADDRESS);
        assert_eq!((one[2].check, one[2].grade), ("places", Grade::Warning));
        assert_eq!(one[2].subject, "web");
    }
}
