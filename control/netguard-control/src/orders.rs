//! Questions and orders from the local socket: answered at once, or given to the node and answered
//! later.

use crate::agreed;
use crate::server::Ask;
use crate::snapshot::{Facts, Moment, hex};
use agreement::{ConfigureRefused, OverrideRefused};
use api::{
    Answer, Configured, ConfirmedOff, ErrorCode, Moved, Overridden, Refusal, ReplyBody, Request,
};
use config::{Config, DOCUMENT_MAX};
use heartbeat::Board;
use node::{Command, CommandDone, CommandRefused, ConfigurationStatus, Node};
use services::configure::SERVICES_MAX;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Configuration, NodeSet};

/// Orders under way.
const ORDERS_MAX: usize = 64;

/// Orders whose answer has not come; the value is the service's name, or empty.
#[derive(Debug, Default)]
pub struct Orders(BTreeMap<u64, String>);

impl Orders {
    /// Answers a question, or hands an order to the node: then the answer comes through
    /// [`Orders::answer`].
    pub fn handle(
        &mut self,
        at: Moment,
        ask: Ask,
        facts: &Facts,
        node: &mut Node,
        board: &Board,
        present: &Config,
    ) -> Option<ReplyBody> {
        let Ask { token, request } = ask;
        let answer = match request {
            Request::Status => Answer::Status(Box::new(facts.status(at, node, board))),
            Request::Members => Answer::Members(facts.members(at, node, board)),
            Request::Failovers { limit } => Answer::Failovers(facts.failovers(at, node, limit)),
            Request::Why { service } => match facts.why(at, node, service.as_deref()) {
                Some(why) => Answer::Why(why),
                None => return Some(unknown_service(service.as_deref().unwrap_or_default(), node)),
            },
            Request::Move { service, to } => {
                let services = node.services();
                let found = services.iter().find(|s| s.name == service).map(|s| s.id);
                let Some(id) = found else { return Some(unknown_service(&service, node)) };
                let Some(to) = facts.node_of(&to) else { return Some(unknown_node(&to)) };
                let command = Command::Move { service: id, to };
                return self.order(at, token, service, command, node);
            }
            Request::ConfirmOff { node: name } => {
                let Some(id) = facts.node_of(&name) else { return Some(unknown_node(&name)) };
                let command = Command::ConfirmOff { node: id };
                return self.order(at, token, String::new(), command, node);
            }
            Request::Configuration => Answer::Configuration(facts.document(node)),
            Request::Configure { base, document } => {
                let wanted = match wanted(at, base, &document, facts, node, present) {
                    Ok(wanted) => wanted,
                    Err(refusal) => return Some(ReplyBody::Error(refusal)),
                };
                return self.await_answer(token, String::new(), |token| {
                    node.handle_configure(at.now, token, wanted);
                });
            }
            Request::Upgrade => {
                let wanted = match upgraded(node, facts) {
                    Ok(wanted) => wanted,
                    Err(refusal) => return Some(ReplyBody::Error(refusal)),
                };
                return self.await_answer(token, String::new(), |token| {
                    node.handle_configure(at.now, token, wanted);
                });
            }
            Request::Override { absent } => {
                let mut nodes = NodeSet::EMPTY;
                for name in &absent {
                    let Some(id) = facts.node_of(name) else { return Some(unknown_node(name)) };
                    nodes.insert(id);
                }
                return self.await_answer(token, absent.join(","), |token| {
                    node.handle_override(at.now, token, nodes);
                });
            }
            // The loop's probes and the socket's thread answer these.
            Request::Probe { .. } | Request::Watch => Answer::Watching,
        };
        Some(ReplyBody::Answer(answer))
    }

    fn order(
        &mut self,
        at: Moment,
        token: u64,
        service: String,
        command: Command,
        node: &mut Node,
    ) -> Option<ReplyBody> {
        self.await_answer(token, service, |token| node.handle_command(at.now, token, command))
    }

    /// Gives an order; the answer comes later.
    fn await_answer(
        &mut self,
        token: u64,
        about: String,
        give: impl FnOnce(u64),
    ) -> Option<ReplyBody> {
        if self.0.len() >= ORDERS_MAX {
            return Some(error(
                ErrorCode::Busy,
                CommandRefused::Busy.to_string(),
                "try again in a moment",
            ));
        }
        self.0.insert(token, about);
        give(token);
        None
    }

    /// The node's answer to an order.
    pub fn answer(
        &mut self,
        token: u64,
        result: &Result<CommandDone, CommandRefused>,
        facts: &Facts,
        node: &Node,
    ) -> ReplyBody {
        let service = self.0.remove(&token).unwrap_or_default();
        let answer = match result {
            Ok(CommandDone::Moved { from, to, op }) => Answer::Moved(Moved {
                service,
                from: from.map(|from| facts.node_name(from)),
                to: facts.node_name(*to),
                op: op.0,
            }),
            Ok(CommandDone::ConfirmedOff { life, op }) => Answer::ConfirmedOff(ConfirmedOff {
                node: facts.node_name(life.node),
                life: life.incarnation.0,
                op: op.0,
            }),
            Ok(CommandDone::Configured { version, .. }) => Answer::Configured(Configured {
                version: (*version).into(),
                hash: hex(node.configuration().charter.configuration.digest),
            }),
            Ok(CommandDone::OverrideTaken) => Answer::Overridden(Overridden {
                absent: service.split(',').map(str::to_owned).collect(),
            }),
            // Nobody can order this over the socket yet.
            Ok(CommandDone::Cleared { .. }) => {
                let text = "an answer to an order that does not exist";
                return error(ErrorCode::Internal, text, "report this");
            }
            Err(refusal) => return refused(refusal, &service, facts),
        };
        ReplyBody::Answer(answer)
    }
}

fn error(code: ErrorCode, message: impl Into<String>, remedy: impl Into<String>) -> ReplyBody {
    ReplyBody::Error(Refusal::new(code, message, remedy))
}

fn unknown_service(name: &str, node: &Node) -> ReplyBody {
    let known: Vec<String> = node.services().into_iter().map(|s| s.name).collect();
    let message = format!("there is no service \"{name}\"");
    error(ErrorCode::UnknownService, message, format!("services are: {}", known.join(", ")))
}

fn unknown_node(name: &str) -> ReplyBody {
    let message = format!("there is no node \"{name}\"");
    error(ErrorCode::UnknownNode, message, "`ng members` lists the nodes")
}

fn refused(refusal: &CommandRefused, service: &str, facts: &Facts) -> ReplyBody {
    use services::Refusal as Planner;
    let text = refusal.to_string();
    let (code, remedy) = match refusal {
        CommandRefused::NoQuorum { .. } => {
            (ErrorCode::NoQuorum, "`ng status` says what is missing".into())
        }
        CommandRefused::NodeIsAlive(_) => (
            ErrorCode::NodeIsAlive,
            "if it really is off, wait until `ng members` calls it down".into(),
        ),
        CommandRefused::NoMemory(_) => (
            ErrorCode::NoQuorum,
            "start the other node: two nodes that both have restarted begin anew together".into(),
        ),
        CommandRefused::UnknownNode(_) => {
            (ErrorCode::UnknownNode, "`ng members` lists the nodes".into())
        }
        CommandRefused::NotTaken(_) => (
            ErrorCode::Busy,
            "try again in a moment; `ng status` says whether there is a quorum".into(),
        ),
        CommandRefused::Unknown => (ErrorCode::Timeout, "look at `ng status`".into()),
        CommandRefused::Configuration(refused) => return not_configured(refused, facts),
        CommandRefused::Override(refused) => return not_overridden(refused, facts),
        CommandRefused::Busy => (ErrorCode::Busy, "try again in a moment".into()),
        CommandRefused::Timeout => (ErrorCode::Timeout, "look at `ng status`".into()),
        CommandRefused::Service(planner) => match planner {
            Planner::UnknownService => (ErrorCode::UnknownService, "see `ng status`".into()),
            Planner::NotEligible(_) | Planner::Witness(_) => (
                ErrorCode::NotEligible,
                format!("`ng why {service}` lists the nodes that may have it"),
            ),
            Planner::NotAMember(_) | Planner::Leaving(_) => {
                (ErrorCode::NotAMember, "start it, or choose another node".into())
            }
            Planner::NoGate(_) => (
                ErrorCode::NotEligible,
                "`ng status` and `ng doctor` on that node say what its gate lacks".into(),
            ),
            Planner::AlreadyThere(_) => (ErrorCode::AlreadyThere, "nothing to do".into()),
            Planner::Misfit => {
                (ErrorCode::NotEligible, format!("`ng why {service}` names the resource"))
            }
            Planner::OutOfDate => (ErrorCode::Busy, "look again, then repeat it".into()),
            Planner::Malformed => (ErrorCode::Internal, "report this".into()),
        },
    };
    error(code, text, remedy)
}

/// The configuration that a document asks for, if it can be carried out as things are. The same plan as `ng` has shown, by
/// what is so now.
fn wanted(
    at: Moment,
    base: u64,
    document: &str,
    facts: &Facts,
    node: &Node,
    present: &Config,
) -> Result<Configuration, Refusal> {
    let charter = node.configuration().charter;
    if base != u64::from(charter.version) {
        let message = format!(
            "version {} is in force, not {base}: another change came first",
            charter.version
        );
        return Err(Refusal::new(
            ErrorCode::Changed,
            message,
            "look at `ng config diff` again, then repeat it",
        ));
    }
    if document.len() > DOCUMENT_MAX {
        let message = format!("the document is longer than {DOCUMENT_MAX} bytes");
        return Err(Refusal::new(ErrorCode::BadDocument, message, "remove comments, or services"));
    }
    let bad = |report: config::Report| {
        let remedy = "`ng config check` shows every fault of a file with its place";
        Refusal::new(ErrorCode::BadDocument, report.to_string().trim_end().to_owned(), remedy)
    };
    let (config, _) = config::parse("the document", document).map_err(bad)?;
    let text = config::without_local(document).unwrap_or_else(|_| document.to_owned());
    let plan = config::plan(present, &config, &facts.situation(at, node));
    if let Some(refusal) = plan.refusals.first() {
        return Err(Refusal::new(ErrorCode::NotPossible, &refusal.message, &refusal.remedy));
    }
    has_numbers(node.services().into_iter().map(|service| service.name), &config)?;
    let level = charter.configuration.level;
    Ok(agreed::configuration(&config, &text, charter.version.saturating_add(1), level))
}

/// A service that goes keeps its number until its end is proven: together with those that come there must be enough.
fn has_numbers(present: impl Iterator<Item = String>, wanted: &Config) -> Result<(), Refusal> {
    let names = wanted.services.iter().map(|service| service.name.clone());
    let all: BTreeSet<String> = names.chain(present).collect();
    if all.len() <= usize::from(SERVICES_MAX) {
        return Ok(());
    }
    let message = format!(
        "{} services at a time, those that go included, and there are numbers for {SERVICES_MAX}",
        all.len()
    );
    let remedy = "remove services first, and add others when `ng status` shows those no more";
    Err(Refusal::new(ErrorCode::NotPossible, message, remedy))
}

/// What is agreed, at the feature level that all members understand.
fn upgraded(node: &Node, facts: &Facts) -> Result<Configuration, Refusal> {
    let ConfigurationStatus { charter, understood, .. } = node.configuration();
    let agreed = &charter.configuration;
    if understood > agreed.level {
        let version = charter.version.saturating_add(1);
        return Ok(Configuration { version, level: understood, ..(**agreed).clone() });
    }
    let level = agreed.level;
    match node.lags_behind() {
        Some(id) => {
            let name = facts.node_name(id);
            let message = format!("level {level} is in force, and {name} understands no more");
            let remedy = format!("install the new release on {name} first");
            Err(Refusal::new(ErrorCode::NotPossible, message, remedy))
        }
        None => {
            let message = format!("level {level} is in force, which is all that is understood");
            Err(Refusal::new(ErrorCode::AlreadyThere, message, "nothing to do"))
        }
    }
}

fn not_configured(refusal: &ConfigureRefused, facts: &Facts) -> ReplyBody {
    let text = refusal.to_string();
    match refusal {
        ConfigureRefused::Version { .. } => {
            error(ErrorCode::Changed, text, "look at `ng config diff` again, then repeat it")
        }
        ConfigureRefused::Majority { silent, need } => {
            let message = format!(
                "{need} of the voters must live for the votes to follow; {} are silent",
                names(*silent, facts)
            );
            error(ErrorCode::NotPossible, message, "bring them back first, or add voters first")
        }
        ConfigureRefused::LevelTooHigh(id) => {
            let message =
                format!("the release of {} does not understand this yet", facts.node_name(*id));
            error(ErrorCode::NotPossible, message, "install the new release on every node first")
        }
        ConfigureRefused::NobodyLeads
        | ConfigureRefused::NotConfigured(_)
        | ConfigureRefused::Timing
        | ConfigureRefused::TooLarge
        | ConfigureRefused::LevelFalls { .. } => {
            error(ErrorCode::NotPossible, text, "correct the document")
        }
    }
}

fn not_overridden(refusal: &OverrideRefused, facts: &Facts) -> ReplyBody {
    let text = refusal.to_string();
    match refusal {
        OverrideRefused::NotFresh => {
            let remedy = "restart netguard-fast on every node that is left, then ask again";
            error(ErrorCode::NotPossible, text, remedy)
        }
        OverrideRefused::PrimarySpeaks => {
            error(ErrorCode::NotPossible, text, "`ng status` says what it waits for")
        }
        OverrideRefused::Heard(nodes) => {
            let message = format!("heard, so not off: {}", names(*nodes, facts));
            error(ErrorCode::NodeIsAlive, message, "name only nodes that are off")
        }
        OverrideRefused::NotVoters(nodes) => {
            let message = format!(
                "without a vote, so nothing is gained by naming them: {}",
                names(*nodes, facts)
            );
            error(ErrorCode::NotPossible, message, "name only voters that are off")
        }
        OverrideRefused::MayNotLead => {
            error(ErrorCode::NotPossible, text, "ask a node that is left and is no witness")
        }
    }
}

fn names(nodes: NodeSet, facts: &Facts) -> String {
    nodes.iter().map(|node| facts.node_name(node)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::has_numbers;

    #[test]
    fn services_that_go_and_come_need_numbers_together() {
        let service = |n: usize| {
            format!(
                "[[service]]\nname = \"s{n}\"\nfence = \"lease\"\n\
                 [[service.resource]]\nkind = \"address\"\naddress = \"10.9.0.{n}/24\"\n"
            )
        };
        let head = "[cluster]\nname = \"x\"\nkey_file = \"k\"\n\
             [[link]]\nname = \"a\"\nmode = \"unicast\"\nport = 46000\n\
             [[node]]\nid = 1\nname = \"n1\"\naddresses = [\"127.0.1.1\"]\n";
        let text: String = (1..=40).map(service).collect();
        let (wanted, _) = config::parse("test", &(head.to_owned() + &text)).unwrap();
        let present = |range: std::ops::RangeInclusive<usize>| range.map(|n| format!("s{n}"));
        assert!(has_numbers(present(1..=64), &wanted).is_ok(), "40 stay, 24 go");
        assert!(has_numbers(present(41..=64), &wanted).is_ok());
        let refused = has_numbers(present(41..=65), &wanted).unwrap_err();
        assert!(refused.message.starts_with("65 services at a time"), "{refused:?}");
    }
}
