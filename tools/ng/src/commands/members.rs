//! `ng members`: the nodes and their links.

use super::Done;
use super::status::word;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone};
use api::{Configuration, Member, MemberState, Members};
use netguard::Client;

pub(super) fn run(client: &mut Client, output: &Output) -> Done {
    let members = client.members()?;
    output.answer(&members, |paint| show(&members, paint));
    Ok(Exit::Fine)
}

fn show(members: &Members, paint: Paint) -> String {
    let quorum = &members.quorum;
    let held = if quorum.held {
        paint.tone(Tone::Good, "quorum")
    } else {
        paint.tone(Tone::Bad, "NO QUORUM")
    };
    format!(
        "view {} as {} sees it, configuration {}; {held}: votes {}, needed {} ({})\n\n{}",
        members.view,
        members.node,
        members.configuration.version,
        quorum.have,
        quorum.need,
        paint.tone(Tone::Plain, &quorum.why),
        member_rows(&members.members, &members.configuration).show(paint)
    )
}

/// The table of nodes, which `ng status` shows too.
pub(super) fn member_rows(members: &[Member], configuration: &Configuration) -> Table {
    let mut table = Table::new(&["ID", "NODE", "STATE", "LIFE", "VOTE", "HEARD", "LINKS", ""]);
    for member in members {
        let pending = configuration.pending.iter().find(|pending| pending.node == member.name);
        let vote = match (member.voter, member.witness, pending.map(|pending| pending.gives)) {
            (_, _, Some(true)) => "waits",
            (_, _, Some(false)) => "until taken",
            (true, true, None) => "witness",
            (true, false, None) => "yes",
            (false, _, None) => "no",
        };
        let heard = match member.heard_ms_ago {
            _ if member.me => "this node".into(),
            Some(ms) if ms < 10_000.0 => format!("{ms:.1} ms ago"),
            Some(ms) => format!("{:.0} s ago", ms / 1000.0),
            None => "never".into(),
        };
        let life = if member.life == 0 { "-".into() } else { member.life.to_string() };
        table.row(vec![
            (Tone::Plain, member.id.to_string()),
            (Tone::Strong, member.name.clone()),
            (state_tone(member.state), word(&member.state)),
            (Tone::Plain, life),
            (Tone::Plain, vote.into()),
            (Tone::Plain, heard),
            links(member),
            (
                Tone::Faint,
                match pending {
                    Some(pending) if member.reason.is_empty() => pending.why.clone(),
                    _ => member.reason.clone(),
                },
            ),
        ]);
    }
    table
}

const fn state_tone(state: MemberState) -> Tone {
    match state {
        MemberState::Member => Tone::Good,
        MemberState::Joining | MemberState::Unknown => Tone::Warning,
        MemberState::Suspect | MemberState::Down => Tone::Bad,
    }
}

fn links(member: &Member) -> (Tone, String) {
    if member.links.is_empty() {
        return (Tone::Faint, "-".into());
    }
    let shown: Vec<String> = member
        .links
        .iter()
        .map(|link| {
            let state = match (link.up, link.trouble.is_empty()) {
                (false, _) => "DOWN",
                (true, true) => "up",
                (true, false) => "poor",
            };
            format!("{} {state}", link.link)
        })
        .collect();
    let tone = if member.links.iter().all(|link| link.up) { Tone::Plain } else { Tone::Bad };
    (tone, shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::show;
    use crate::commands::samples::{compare, status};
    use crate::text::Paint;
    use api::{MemberState, Members};

    #[test]
    fn the_link_that_is_down_is_named() {
        let mut status = status();
        status.members[1].links[1].up = false;
        status.members[2].state = MemberState::Joining;
        status.members[2].reason = "catches up".into();
        let (node, view) = ("n1".into(), 17);
        let (quorum, configuration) = (status.quorum, status.configuration);
        let members = Members { node, view, configuration, quorum, members: status.members };
        let shown = show(&members, Paint { colour: false });
        assert!(shown.contains("blue up, green DOWN"), "{shown}");
        compare("members.txt", &shown);
    }
}
