//! Questions and orders from the local socket: answered at once, or given to the node and answered
//! later.

use crate::server::Ask;
use crate::snapshot::{Facts, Moment};
use api::{Answer, ConfirmedOff, ErrorCode, Moved, Refusal, ReplyBody, Request};
use heartbeat::Board;
use node::{Command, CommandDone, CommandRefused, Node};
use std::collections::BTreeMap;

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
        if self.0.len() >= ORDERS_MAX {
            return Some(refused(&CommandRefused::Busy, &service));
        }
        self.0.insert(token, service);
        node.handle_command(at.now, token, command);
        None
    }

    /// The node's answer to an order.
    pub fn answer(
        &mut self,
        token: u64,
        result: &Result<CommandDone, CommandRefused>,
        facts: &Facts,
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
            // Nobody can order this over the socket yet.
            Ok(
                CommandDone::Cleared { .. }
                | CommandDone::Configured { .. }
                | CommandDone::OverrideTaken,
            ) => {
                let text = "an answer to an order that does not exist";
                return error(ErrorCode::Internal, text, "report this");
            }
            Err(refusal) => return refused(refusal, &service),
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

fn refused(refusal: &CommandRefused, service: &str) -> ReplyBody {
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
        CommandRefused::Configuration(_) => {
            (ErrorCode::Busy, "`ng config show` has what is agreed".into())
        }
        CommandRefused::Override(_) => (ErrorCode::NodeIsAlive, "`ng status` says more".into()),
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
