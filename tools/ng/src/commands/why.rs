//! `ng why`: the planner's reasons.

use super::Done;
use super::status::{phase, word};
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone, clean};
use api::{ErrorCode, MemberState, Status, Why, WhyService};
use netguard::{Client, Error};
use serde::Serialize;

pub(super) fn run(client: &mut Client, name: Option<&str>, output: &Output) -> Done {
    match client.why(name) {
        Ok(why) => {
            output.answer(&why, |paint| show(&why, paint));
            Ok(Exit::Fine)
        }
        // Not a service: a node, perhaps.
        Err(Error::Refused(refusal)) if refusal.code == ErrorCode::UnknownService => {
            let status = client.status()?;
            let Some(node) = name.and_then(|name| about_node(&status, name)) else {
                return Err(Error::Refused(refusal).into());
            };
            output.answer(&node, |paint| show_node(&node, paint));
            Ok(Exit::Fine)
        }
        Err(error) => Err(error.into()),
    }
}

/// The object for a node.
#[derive(Serialize)]
struct NodeObject {
    node: String,
    state: String,
    /// True if its present life holds its vote.
    votes: bool,
    summary: String,
    remedies: Vec<String>,
}

fn about_node(status: &Status, name: &str) -> Option<NodeObject> {
    let member = status.members.iter().find(|member| member.name == name)?;
    let pending = status.configuration.pending.iter().find(|pending| pending.node == name);
    let wanted = status.configuration.wanted.iter().any(|voter| voter == name);
    let summary = match pending {
        Some(pending) => pending.line(),
        None if member.voter => format!("{name} has its vote"),
        None if !wanted => format!("{name} is to have no vote"),
        None => format!("{name} has a vote, but not with its present life: it is not admitted yet"),
    };
    let mut remedies = Vec::new();
    if member.state == MemberState::Down {
        remedies.push(format!("start netguard-fast on {name}, or repair the links to it"));
    }
    let reason =
        if member.reason.is_empty() { String::new() } else { format!("; {}", member.reason) };
    let (node, state) = (member.name.clone(), word(&member.state));
    Some(NodeObject {
        node,
        state,
        votes: member.voter,
        summary: format!("{summary}{reason}"),
        remedies,
    })
}

fn show_node(node: &NodeObject, paint: Paint) -> String {
    let name = paint.tone(Tone::Strong, &node.node);
    let mut text = format!("{name}: {}\n  {}\n", clean(&node.state), clean(&node.summary));
    for remedy in &node.remedies {
        text.push_str(&format!("  do: {}\n", clean(remedy)));
    }
    text
}

fn show(why: &Why, paint: Paint) -> String {
    if why.services.is_empty() {
        return "no service is configured\n".into();
    }
    let parts: Vec<String> = why.services.iter().map(|service| one(service, paint)).collect();
    parts.join("\n")
}

fn one(why: &WhyService, paint: Paint) -> String {
    let service = &why.service;
    let (tone, phase) = phase(service);
    let owner = match &service.owner {
        Some(owner) => format!(" on {}, generation {}", owner, service.generation),
        None => String::new(),
    };
    let mut text = format!(
        "{}: {}{}\n  {}\n",
        paint.tone(Tone::Strong, &service.name),
        paint.tone(tone, &phase),
        paint.tone(Tone::Plain, &owner),
        paint.tone(Tone::Plain, &why.summary)
    );
    if !service.resources.is_empty() {
        let parts: Vec<String> = service
            .resources
            .iter()
            .map(|resource| {
                let bound = if resource.lease_bound { "" } else { ", not lease-bound" };
                format!("{} {}{bound}", resource.kind, resource.name)
            })
            .collect();
        let (fence, placement) = (word(&service.fence), word(&service.placement));
        let parts = paint.tone(Tone::Plain, &parts.join("; "));
        text.push_str(&format!("  fence {fence}, placement {placement}: {parts}\n"));
    }
    if !why.candidates.is_empty() {
        let mut table = Table::new(&["  NODE", "ELIGIBLE", "REASON"]);
        for candidate in &why.candidates {
            let (tone, eligible) =
                if candidate.eligible { (Tone::Good, "yes") } else { (Tone::Warning, "no") };
            table.row(vec![
                (Tone::Plain, format!("  {}", candidate.node)),
                (tone, eligible.into()),
                (Tone::Plain, candidate.reason.clone()),
            ]);
        }
        text.push_str(&table.show(paint));
    }
    for remedy in &why.remedies {
        text.push_str(&format!("  do: {}\n", paint.tone(Tone::Plain, remedy)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{about_node, show, show_node};
    use crate::commands::samples::{compare, status, why};
    use crate::text::Paint;

    #[test]
    fn a_node_that_waits_for_its_vote_says_for_what() {
        let mut status = status();
        let pending =
            api::PendingVote { node: "n3".into(), gives: true, why: "it has not joined".into() };
        status.configuration.pending = vec![pending];
        status.members[2].state = api::MemberState::Down;
        let node = about_node(&status, "n3").unwrap();
        let shown = show_node(&node, Paint { colour: false });
        assert_eq!(
            shown,
            "n3: down\n  n3 waits for its vote: it has not joined\n  do: start netguard-fast on n3, or repair the links to it\n"
        );
        assert_eq!(about_node(&status, "n1").unwrap().summary, "n1 has its vote");
        assert!(about_node(&status, "n9").is_none());
    }

    #[test]
    fn every_candidate_has_its_reason() {
        let shown = show(&why(), Paint { colour: false });
        assert!(shown.contains("n3    no        witness"), "{shown}");
        compare("why.txt", &shown);
    }
}
