//! `ng watch`: a line per event until it is interrupted or the daemon ends.

use super::Done;
use super::status::phase;
use crate::clock::time_of_day;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Tone};
use api::{Event, EventKind, Severity};
use netguard::Client;

pub(super) fn run(client: Client, output: &Output) -> Done {
    let mut watch = client.watch()?;
    while let Some(event) = watch.next(None)? {
        if !output.answer(&event, |paint| line(&event, paint)) {
            break;
        }
    }
    Ok(Exit::Fine)
}

fn line(event: &Event, paint: Paint) -> String {
    let what = match &event.event {
        EventKind::View { view, members, joined, left } => {
            let mut parts = Vec::new();
            if !joined.is_empty() {
                parts.push(paint.tone(Tone::Good, &format!("{} joined", joined.join(", "))));
            }
            if !left.is_empty() {
                parts.push(paint.tone(Tone::Bad, &format!("{} left", left.join(", "))));
            }
            parts.push(paint.tone(Tone::Plain, &format!("members {}", members.join(", "))));
            format!("view {view}: {}", parts.join("; "))
        }
        EventKind::Service { service } => {
            let (tone, phase) = phase(service);
            let owner = service.owner.as_deref().unwrap_or("nobody");
            format!(
                "service {}: {} on {} generation {}: {}",
                paint.tone(Tone::Strong, &service.name),
                paint.tone(tone, &phase),
                paint.tone(Tone::Plain, owner),
                service.generation,
                paint.tone(Tone::Plain, &service.reason)
            )
        }
        EventKind::Alarm { raised, alarm } => {
            let tone = match alarm.severity {
                _ if !raised => Tone::Good,
                Severity::Critical => Tone::Bad,
                Severity::Warning => Tone::Warning,
                Severity::Notice => Tone::Faint,
            };
            let word = if *raised { "alarm" } else { "alarm over" };
            let message = paint.tone(Tone::Plain, &alarm.message);
            format!("{}: {message}", paint.tone(tone, word))
        }
        EventKind::Dropped { count } => {
            paint.tone(Tone::Warning, &format!("{count} events were dropped: read faster"))
        }
        EventKind::Unknown => paint.tone(Tone::Faint, "an event of a newer release"),
    };
    format!("{}  {what}\n", paint.tone(Tone::Faint, &time_of_day(event.unix_ms)))
}

#[cfg(test)]
mod tests {
    use super::line;
    use crate::commands::samples::status;
    use crate::text::Paint;
    use api::{Event, EventKind};

    #[test]
    fn one_line_per_event() {
        let service = status().services.remove(0);
        let view = EventKind::View {
            view: 18,
            members: vec!["n1".into(), "n3".into()],
            joined: vec![],
            left: vec!["n2".into()],
        };
        let shown: String = [view, EventKind::Service { service }]
            .map(|event| {
                let event = Event { seq: 1, at_ns: 2, unix_ms: 36_000_123, event };
                line(&event, Paint { colour: false })
            })
            .concat();
        assert_eq!(
            shown,
            "10:00:00.123  view 18: n2 left; members n1, n3\n\
             10:00:00.123  service vip: running on n1 generation 3: n1 is preferred\n"
        );
    }
}
