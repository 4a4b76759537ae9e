//! "Is it fine, and if not, why and what to do": one rule for `ng status`, its exit code and others
//! who ask.

use crate::{Member, MemberState, Phase, Service, Severity, Status};
use serde::{Deserialize, Serialize};

/// The verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// True if every service runs and the next failure would be survived as promised.
    pub fine: bool,
    /// What is not fine, worst first.
    pub problems: Vec<Problem>,
}

/// One thing that is not fine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Status {
    /// The verdict on this state.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut problems = Vec::new();
        if !self.quorum.held {
            let remedy = self.quorum_remedy();
            let message = format!("no quorum: {}", self.quorum.why);
            problems.push(Problem { severity: Severity::Critical, message, remedy });
        }
        for service in &self.services {
            problems.extend(service_problem(service, self.quorum.held));
        }
        for member in &self.members {
            problems.extend(member_problem(member));
        }
        for pending in &self.configuration.pending {
            let remedy = if pending.gives {
                format!("start {} if it does not run; else wait", pending.node)
            } else {
                "wait".into()
            };
            problems.push(Problem { severity: Severity::Notice, message: pending.line(), remedy });
        }
        for alarm in &self.alarms {
            let (message, remedy) = (alarm.message.clone(), alarm.remedy.clone());
            // A daemon may raise an alarm for what was found above already.
            if !problems.iter().any(|p: &Problem| p.message == message) {
                problems.push(Problem { severity: alarm.severity, message, remedy });
            }
        }
        problems.sort_by_key(|p| p.severity.rank());
        Health { fine: problems.iter().all(|p| p.severity == Severity::Notice), problems }
    }

    fn quorum_remedy(&self) -> String {
        let absent: Vec<&str> = self
            .members
            .iter()
            .filter(|m| m.state == MemberState::Down || m.state == MemberState::Suspect)
            .map(|m| m.name.as_str())
            .collect();
        let fresh = self.members.iter().any(|m| m.state == MemberState::Joining);
        if absent.is_empty() && fresh {
            "restart the voters that have not restarted too, or wait until all are admitted".into()
        } else if absent.is_empty() {
            "wait a moment: the nodes are agreeing; if it stays, look at the links in `ng members`"
                .into()
        } else {
            format!(
                "bring back {}, or the links to them{}",
                absent.join(", "),
                self.last_resort(&absent)
            )
        }
    }

    /// What is left when voters are gone for good. Of a pair the survivor goes on with proof (R-FENCE), which its alarm says.
    fn last_resort(&self, absent: &[&str]) -> String {
        if self.members.len() <= 2 {
            return String::new();
        }
        // A life that remembers an era cannot begin another one (R-FRESH).
        let remembers = self.members.iter().any(|m| m.state == MemberState::Member);
        let first = if remembers { "restart the daemons of the others, then " } else { "" };
        let option = absent.join(",");
        format!(
            "; if they are gone for good, see that they are off, {first}`ng cluster override --absent {option}`"
        )
    }
}

fn service_problem(service: &Service, quorum: bool) -> Option<Problem> {
    let name = &service.name;
    let owner = service.owner.as_deref().unwrap_or("nobody");
    let (severity, what, remedy) = match service.phase {
        Phase::Running | Phase::Unknown => return None,
        Phase::Starting => (Severity::Warning, format!("is starting on {owner}"), "wait".into()),
        Phase::Stopping => (Severity::Warning, format!("is stopping on {owner}"), "wait".into()),
        // Without a quorum nothing runs (S8): the quorum is the thing to repair.
        Phase::Idle if !quorum => {
            (Severity::Critical, "does not run".into(), "restore the quorum first".into())
        }
        Phase::Idle => (Severity::Critical, "does not run".into(), format!("ng why {name}")),
        Phase::WaitingForFence => (
            Severity::Critical,
            format!("waits for proof that {owner} is off"),
            format!(
                "switch {owner} off and say so with `ng fence confirm {owner}`, or start it again"
            ),
        ),
        Phase::Failed => (Severity::Critical, "has failed".into(), format!("ng why {name}")),
    };
    let reason =
        if service.reason.is_empty() { String::new() } else { format!(": {}", service.reason) };
    Some(Problem { severity, message: format!("service {name} {what}{reason}"), remedy })
}

/// A link that is up and loses, doubles or reorders: no service suffers while another carries the beats.
fn poor_links(member: &Member) -> Option<Problem> {
    let poor = member.links.iter().filter(|l| !l.trouble.is_empty());
    let poor: Vec<String> = poor.map(|l| format!("{} ({})", l.link, l.trouble)).collect();
    if poor.is_empty() {
        return None;
    }
    let message = format!("node {} is heard badly on link {}", member.name, poor.join(", "));
    let remedy = "check cable, switch and load of that link".into();
    Some(Problem { severity: Severity::Notice, message, remedy })
}

fn member_problem(member: &Member) -> Option<Problem> {
    let name = &member.name;
    let reason =
        if member.reason.is_empty() { String::new() } else { format!(": {}", member.reason) };
    let (what, remedy) = match member.state {
        MemberState::Member => {
            let down: Vec<&str> =
                member.links.iter().filter(|l| !l.up).map(|l| l.link.as_str()).collect();
            if down.is_empty() {
                return poor_links(member);
            }
            let message = format!("node {name} is not heard on link {}", down.join(", "));
            let remedy = "check cable, switch and firewall of that link".into();
            return Some(Problem { severity: Severity::Warning, message, remedy });
        }
        MemberState::Suspect => ("is silent", format!("check {name} and its links")),
        MemberState::Joining => ("is joining", "wait".into()),
        MemberState::Down => ("is down", format!("start {name}, or repair it")),
        MemberState::Unknown => return None,
    };
    Some(Problem {
        severity: Severity::Warning,
        message: format!("node {name} {what}{reason}"),
        remedy,
    })
}
