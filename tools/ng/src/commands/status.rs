//! `ng status`: the verdict first, then what it rests on.

use super::Done;
use super::members::member_rows;
use crate::clock::span;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone, clean, counted};
use api::{Health, MemberState, Phase, Problem, Role, Service, Severity, Status};
use netguard::Client;
use serde::Serialize;

/// The object: the verdict's fields, then those of `Status`.
#[derive(Serialize)]
struct Object<'s> {
    #[serde(flatten)]
    health: &'s Health,
    #[serde(flatten)]
    status: &'s Status,
}

pub(super) fn run(client: &mut Client, output: &Output) -> Done {
    let status = client.status()?;
    let health = status.health();
    output.answer(&Object { health: &health, status: &status }, |paint| {
        show(&status, &health, paint)
    });
    Ok(if health.fine { Exit::Fine } else { Exit::Refused })
}

fn show(status: &Status, health: &Health, paint: Paint) -> String {
    let mut text = verdict(status, health, paint);
    for problem in &health.problems {
        text.push_str(&show_problem(problem, paint));
    }
    text.push('\n');
    text.push_str(&this_node(status, paint));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&services(status).show(paint));
    }
    text.push('\n');
    text.push_str(&member_rows(&status.members, &status.configuration).show(paint));
    text
}

fn verdict(status: &Status, health: &Health, paint: Paint) -> String {
    let name = paint.tone(Tone::Strong, &status.cluster);
    if !health.fine {
        let serious = health.problems.iter().filter(|p| p.severity != Severity::Notice).count();
        let word = paint.tone(Tone::Bad, "NOT FINE");
        return format!("{name}: {word}, {}\n", counted(serious, "problem"));
    }
    let members = status.members.iter().filter(|m| m.state == MemberState::Member).count();
    let word = paint.tone(Tone::Good, "fine");
    format!(
        "{name}: {word}: {members} of {}, {} running\n",
        counted(status.members.len(), "node"),
        counted(status.services.len(), "service"),
    )
}

fn show_problem(problem: &Problem, paint: Paint) -> String {
    let (tone, word) = match problem.severity {
        Severity::Critical => (Tone::Bad, "critical"),
        Severity::Warning => (Tone::Warning, "warning"),
        Severity::Notice => (Tone::Faint, "notice"),
    };
    let word = format!("{}{}", paint.tone(tone, word), " ".repeat(8 - word.len()));
    let message = paint.tone(Tone::Plain, &problem.message);
    let remedy = paint.tone(Tone::Plain, &problem.remedy);
    format!("  {word}  {message}\n            do: {remedy}\n")
}

/// Two lines about the node that answers.
fn this_node(status: &Status, paint: Paint) -> String {
    let agreement = &status.agreement;
    let role = match (agreement.role, &agreement.primary) {
        (Role::Primary, _) => format!("primary of term {}", agreement.term),
        (_, Some(primary)) => format!("follows {primary}, primary of term {}", agreement.term),
        (Role::Learner, None) => "a new life that waits to be admitted".into(),
        (_, None) => format!("sees no primary in term {}", agreement.term),
    };
    let lease = if status.lease.held {
        format!("held, {:.1} ms left", status.lease.left_ms)
    } else {
        "not held".into()
    };
    let quorum = &status.quorum;
    let io = match status.network_io.as_str() {
        "" => String::new(),
        io => format!("; heartbeats by {}", clean(io)),
    };
    format!(
        "{}: life {}, up {}; {role}\nview {}, configuration {}, log {} of {} committed; votes {}, needed {}; \
         lease {lease}{io}\n",
        paint.tone(Tone::Strong, &status.node),
        status.life,
        span(status.uptime_ms),
        agreement.view,
        status.configuration.version,
        agreement.commit_op,
        agreement.last_op,
        quorum.have,
        quorum.need,
    )
}

fn services(status: &Status) -> Table {
    let mut table =
        Table::new(&["SERVICE", "PHASE", "OWNER", "GENERATION", "FENCE", "PLACEMENT", "SINCE"]);
    for service in &status.services {
        let since = service.since_unix_ms.map(|since| span(status.unix_ms.saturating_sub(since)));
        table.row(vec![
            (Tone::Strong, service.name.clone()),
            phase(service),
            (Tone::Plain, service.owner.clone().unwrap_or_else(|| "-".into())),
            (Tone::Plain, service.generation.to_string()),
            (Tone::Plain, word(&service.fence)),
            (Tone::Plain, word(&service.placement)),
            (Tone::Faint, since.unwrap_or_else(|| "-".into())),
        ]);
    }
    table
}

/// A service's phase in its tone.
pub(super) fn phase(service: &Service) -> (Tone, String) {
    let tone = match service.phase {
        Phase::Running => Tone::Good,
        Phase::Starting | Phase::Stopping | Phase::Unknown => Tone::Warning,
        Phase::Idle | Phase::WaitingForFence | Phase::Failed => Tone::Bad,
    };
    (tone, word(&service.phase))
}

/// The word that the JSON form has for a value of a closed set.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Object, show};
    use crate::commands::samples::{compare, status};
    use crate::text::Paint;
    use api::{MemberState, Phase};

    const PLAIN: Paint = Paint { colour: false };

    #[test]
    fn a_fine_cluster_says_so_in_its_first_line() {
        let status = status();
        let shown = show(&status, &status.health(), PLAIN);
        assert!(shown.starts_with("demo: fine: 3 of 3 nodes, 1 service running\n"), "{shown}");
        compare("status-fine.txt", &shown);
    }

    #[test]
    fn one_that_is_not_says_why_and_what_to_do() {
        let mut status = status();
        status.members[1].state = MemberState::Down;
        status.services[0].phase = Phase::WaitingForFence;
        status.services[0].owner = Some("n2".into());
        status.services[0].reason = "n2 was removed and is not proven off\u{1b}[2J".into();
        let shown = show(&status, &status.health(), PLAIN);
        assert!(shown.starts_with("demo: NOT FINE, 2 problems\n"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        compare("status-not-fine.txt", &shown);
    }

    #[test]
    fn the_object_has_the_verdict_beside_the_state() {
        let status = status();
        let health = status.health();
        let object = serde_json::to_value(Object { health: &health, status: &status }).unwrap();
        assert_eq!(object["fine"], true);
        assert_eq!(object["problems"], serde_json::json!([]));
        assert_eq!(object["services"][0]["owner"], "n1");
        assert_eq!(object["quorum"]["need"], 2);
    }
}
