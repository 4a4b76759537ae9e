//! `ng service move` and `ng fence confirm`.

use super::Done;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text::{Tone, clean};
use api::{EventKind, Moved, Phase};
use netguard::{Client, Watch};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long `--wait` waits: a stop may take its timeout.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The object of `service move`.
#[derive(Serialize)]
struct Object<'m> {
    #[serde(flatten)]
    moved: &'m Moved,
    /// Only with `--wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    running_after_ms: Option<u64>,
}

pub(super) fn move_service(
    client: &mut Client,
    service: &str,
    node: &str,
    watch: Option<Watch>,
    output: &Output,
) -> Done {
    let began = Instant::now();
    let moved = client.move_service(service, node)?;
    if let Some(watch) = watch {
        wait_until_running(watch, service, node)?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        output.answer(&Object { moved: &moved, running_after_ms: Some(ms) }, |paint| {
            let name = paint.tone(Tone::Strong, service);
            format!("{name} runs on {} after {ms} ms\n", clean(node))
        });
    } else {
        output.answer(&Object { moved: &moved, running_after_ms: None }, |paint| {
            let from = moved.from.as_deref().unwrap_or("nobody");
            let name = paint.tone(Tone::Strong, service);
            format!("{name} moves from {} to {} (#{})\n", clean(from), clean(node), moved.op)
        });
    }
    Ok(Exit::Fine)
}

fn wait_until_running(mut watch: Watch, service: &str, node: &str) -> Result<(), Failure> {
    let until = Instant::now() + WAIT_MAX;
    let remedy = format!("ng why {service}");
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Some(event) = watch.next(Some(left))? else {
            let limit = WAIT_MAX.as_secs();
            let message = format!("{service} does not run on {node} after {limit} s");
            return Err(Failure::new(Exit::Refused, "timeout", message, remedy));
        };
        let EventKind::Service { service: state } = event.event else { continue };
        if state.name != service {
            continue;
        }
        match state.phase {
            Phase::Running if state.owner.as_deref() == Some(node) => return Ok(()),
            Phase::Failed => {
                let message = format!("{service} has failed: {}", state.reason);
                return Err(Failure::new(Exit::Refused, "failed", message, remedy));
            }
            // It failed there and runs on another node: waiting longer changes nothing.
            Phase::Running if state.failed_on.iter().any(|failed| failed.node == node) => {
                let owner = state.owner.as_deref().unwrap_or("another node");
                let message = format!("{service} failed on {node} and runs on {owner}");
                return Err(Failure::new(Exit::Refused, "failed", message, remedy));
            }
            _ => {}
        }
    }
}

/// Asks before an assertion that only the operator can make.
pub(super) fn may_confirm(node: &str, yes: bool, output: &Output) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let warning = format!("If {node} still runs, its services will run twice: data can be lost.");
    match output.ask(&warning, "Look at the machine, then type its name if it is off: ") {
        Some(answer) if answer == node => Ok(()),
        Some(_) => {
            let message = "that is not its name: nothing was done";
            Err(Failure::new(Exit::Refused, "not-confirmed", message, "look, then ask again"))
        }
        None => {
            let message = format!("whether {node} is off must be confirmed by a person");
            let remedy = "run it on a terminal, or add --yes if you have looked";
            Err(Failure::new(Exit::Usage, "not-confirmed", message, remedy))
        }
    }
}

pub(super) fn confirm_off(client: &mut Client, node: &str, output: &Output) -> Done {
    let confirmed = client.confirm_off(node)?;
    output.answer(&confirmed, |paint| {
        let name = paint.tone(Tone::Strong, &confirmed.node);
        format!(
            "it is on record that life {} of {name} is off (#{}); a later life is not affected\n",
            confirmed.life, confirmed.op
        )
    });
    Ok(Exit::Fine)
}
