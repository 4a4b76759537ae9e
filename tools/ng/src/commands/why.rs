//! `ng why`: the planner's reasons.

use super::Done;
use super::status::{phase, word};
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Table, Tone};
use api::{Why, WhyService};
use netguard::Client;

pub(super) fn run(client: &mut Client, service: Option<&str>, output: &Output) -> Done {
    let why = client.why(service)?;
    output.answer(&why, |paint| show(&why, paint));
    Ok(Exit::Fine)
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
    use super::show;
    use crate::commands::samples::{compare, why};
    use crate::text::Paint;

    #[test]
    fn every_candidate_has_its_reason() {
        let shown = show(&why(), Paint { colour: false });
        assert!(shown.contains("n3    no        witness"), "{shown}");
        compare("why.txt", &shown);
    }
}
