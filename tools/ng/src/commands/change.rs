//! Changes of the agreed configuration: `ng config diff` and `apply`, `ng node add` and `remove`. All show the plan first,
//! by the same function by which the daemon judges it; nothing is sent before the operator has seen it.

use super::Done;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text::{Paint, Table, Tone, clean};
use api::{Configuration, ConfigurationAnswer, MemberState, Status};
use config::{Config, Cost, EditError, Plan, Situation};
use netguard::{Client, Watch};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Distance of two looks at what still waits.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a change is to be carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Do not ask.
    pub(super) yes: bool,
    /// How long to wait for the votes.
    pub(super) wait: Duration,
}

/// Where the wanted text comes from.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A file.
    File(&'a Path),
    /// The agreed text with one more node.
    Add(config::NewNode<'a>),
    /// The agreed text without a node.
    Remove(&'a str),
}

/// The object of `config diff`; `config apply` and `node` have what came of it, too.
#[derive(Serialize)]
struct Object {
    /// The version that the plan begins from.
    base: u64,
    /// True if nothing is refused.
    possible: bool,
    steps: Vec<StepObject>,
    warnings: Vec<NoteObject>,
    refusals: Vec<NoteObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Applied>,
}

#[derive(Serialize)]
struct StepObject {
    subject: String,
    what: String,
    cost: &'static str,
    costs: String,
}

#[derive(Serialize)]
struct NoteObject {
    message: String,
    remedy: String,
}

#[derive(Serialize)]
struct Applied {
    version: u64,
    hash: String,
    /// How long it took until every vote had followed; absent if they have not.
    followed_after_ms: Option<u64>,
    /// What is still waited for.
    pending: Vec<String>,
}

/// What is agreed, what is wanted, and what lies between.
struct Change {
    base: u64,
    document: String,
    plan: Plan,
}

pub(super) fn diff(client: &mut Client, file: &Path, output: &Output) -> Done {
    let change = prepare(client, &Source::File(file))?;
    let object = object(&change, None);
    output.answer(&object, |paint| show(&change, paint));
    Ok(if object.possible { Exit::Fine } else { Exit::Refused })
}

pub(super) fn apply(
    client: &mut Client,
    watch: impl FnOnce() -> Result<Watch, Failure>,
    source: &Source<'_>,
    how: How,
    output: &Output,
) -> Done {
    let change = prepare(client, source)?;
    if change.plan.is_empty() || !change.plan.refusals.is_empty() {
        let object = object(&change, None);
        output.answer(&object, |paint| show(&change, paint));
        return Ok(if object.possible { Exit::Fine } else { Exit::Refused });
    }
    if !how.yes {
        output.tell(|paint| show(&change, paint));
        may_apply(output)?;
    }
    let watch = watch()?;
    let began = Instant::now();
    let done = client.configure(change.base, &change.document)?;
    output.tell(|paint| {
        format!("{} as version {}\n", paint.tone(Tone::Good, "agreed"), done.version)
    });
    let pending = follow(client, watch, done.version, began + how.wait, output)?;
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let followed_after_ms = pending.is_empty().then_some(ms);
    let (version, hash) = (done.version, done.hash);
    let applied = Applied { version, hash, followed_after_ms, pending };
    let object = object(&change, Some(applied));
    output.answer(&object, |paint| match &object.applied {
        Some(Applied { followed_after_ms: Some(ms), .. }) => {
            format!("{} after {ms} ms: every vote is where the document wants it\n", paint.tone(Tone::Good, "done"))
        }
        Some(Applied { pending, .. }) => format!(
            "{}, but not all votes have followed: {}\nthey follow by themselves; `ng status` shows when\n",
            paint.tone(Tone::Warning, "agreed"),
            clean(&pending.join("; "))
        ),
        None => String::new(),
    });
    Ok(if followed_after_ms.is_some() { Exit::Fine } else { Exit::Refused })
}

/// Reads what is agreed and what is wanted, and makes the plan.
fn prepare(client: &mut Client, source: &Source<'_>) -> Result<Change, Failure> {
    let agreed = client.configuration()?;
    let status = client.status()?;
    let present = config::parse("the agreed document", &agreed.document).map_err(unusable)?.0;
    let (name, text) = match source {
        Source::File(file) => {
            (file.display().to_string(), config::read_text(file).map_err(unusable)?)
        }
        Source::Add(new) => {
            ("the new document".into(), config::add_node(&agreed.document, new).map_err(edit)?)
        }
        Source::Remove(node) => {
            ("the new document".into(), config::remove_node(&agreed.document, node).map_err(edit)?)
        }
    };
    let wanted = config::parse(&name, &text).map_err(unusable)?.0;
    let document = config::without_local(&text).map_err(edit)?;
    let plan = config::plan(&present, &wanted, &situation(&present, &status, &agreed));
    Ok(Change { base: agreed.configuration.version, document, plan })
}

/// A file or a document with errors: all of them.
fn unusable(report: config::Report) -> Failure {
    let remedy = format!("ng config check {}", report.file);
    Failure::new(Exit::Usage, "bad-document", report.to_string().trim_end().to_owned(), remedy)
}

fn edit(error: EditError) -> Failure {
    let remedy =
        "see `ng config show`; or change its text by hand and give it to `ng config apply`";
    Failure::new(Exit::Usage, "bad-document", error.to_string(), remedy)
}

/// What the daemon says, in the words of the plan.
fn situation(present: &Config, status: &Status, agreed: &ConfigurationAnswer) -> Situation {
    let id = |name: &str| present.for_node(name).ok().map(|node| node.id);
    let counts = |state| matches!(state, MemberState::Member | MemberState::Suspect);
    let owned =
        |service: &api::Service| Some((service.name.clone(), id(service.owner.as_deref()?)?));
    Situation {
        members: status.members.iter().filter(|m| counts(m.state)).map(|m| m.id).collect(),
        voters: agreed.configuration.voters.iter().filter_map(|name| id(name)).collect(),
        primary: status.agreement.primary.as_deref().and_then(id),
        owners: status.services.iter().filter_map(owned).collect(),
    }
}

fn object(change: &Change, applied: Option<Applied>) -> Object {
    let Plan { steps, warnings, refusals } = &change.plan;
    let note = |note: &config::Note| NoteObject {
        message: note.message.clone(),
        remedy: note.remedy.clone(),
    };
    let steps = steps.iter().map(|step| StepObject {
        subject: step.subject.clone(),
        what: step.what.clone(),
        cost: step.cost.as_str(),
        costs: step.costs.clone(),
    });
    Object {
        base: change.base,
        possible: refusals.is_empty(),
        steps: steps.collect(),
        warnings: warnings.iter().map(note).collect(),
        refusals: refusals.iter().map(note).collect(),
        applied,
    }
}

/// The plan as people read it.
fn show(change: &Change, paint: Paint) -> String {
    let plan = &change.plan;
    if plan.is_empty() {
        return format!("nothing to change: version {} means the same\n", change.base);
    }
    let mut text = format!("from version {}:\n", change.base);
    let mut table = Table::new(&["", "WHAT", "COST"]);
    for step in &plan.steps {
        let tone = match step.cost {
            Cost::Nothing => Tone::Good,
            Cost::Restart | Cost::Move => Tone::Warning,
            Cost::Stop => Tone::Bad,
        };
        table.row(vec![
            (Tone::Strong, format!("  {}", step.subject)),
            (Tone::Plain, step.what.clone()),
            (tone, step.costs.clone()),
        ]);
    }
    if !plan.steps.is_empty() {
        text.push_str(&table.show(paint));
    }
    let notes =
        [("warning", Tone::Warning, &plan.warnings), ("REFUSED", Tone::Bad, &plan.refusals)];
    for (word, tone, notes) in notes {
        for note in notes {
            let word = paint.tone(tone, word);
            let (message, remedy) = (clean(&note.message), clean(&note.remedy));
            text.push_str(&format!("{word}: {message}\n    do: {remedy}\n"));
        }
    }
    if !plan.refusals.is_empty() {
        text.push_str("nothing is changed\n");
    }
    text
}

fn may_apply(output: &Output) -> Result<(), Failure> {
    match output.ask("All of it, or nothing.", "Type yes to apply it: ") {
        Some(answer) if answer == "yes" => Ok(()),
        Some(_) => Err(Failure::new(
            Exit::Refused,
            "not-confirmed",
            "nothing was done",
            "type yes, or add --yes",
        )),
        None => {
            let message = "a change must be confirmed by a person who has seen the plan";
            Err(Failure::new(
                Exit::Usage,
                "not-confirmed",
                message,
                "run it on a terminal, or add --yes",
            ))
        }
    }
}

/// Waits until every vote has followed; says what it waits for whenever that changes. Gives what is left at the end of
/// the time.
fn follow(
    client: &mut Client,
    mut watch: Watch,
    version: u64,
    until: Instant,
    output: &Output,
) -> Result<Vec<String>, Failure> {
    let mut told = Vec::new();
    loop {
        let status = client.status()?;
        let Configuration { version: here, pending, .. } = status.configuration;
        let waits: Vec<String> = if here < version {
            vec![format!("{} has not applied it yet", status.node)]
        } else {
            pending.iter().map(api::PendingVote::line).collect()
        };
        if waits.is_empty() {
            return Ok(waits);
        }
        let now = Instant::now();
        if now >= until {
            return Ok(waits);
        }
        if waits != told {
            output.tell(|paint| {
                waits.iter().map(|line| format!("{}\n", paint.tone(Tone::Faint, line))).collect()
            });
            told = waits;
        }
        // An event ends the wait early: it may be what was waited for.
        watch.next(Some(LOOK_EVERY.min(until - now)))?;
    }
}
