//! `ng doctor`: will this machine keep its promises, and if not, what to do.

use super::Done;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Tone, counted};
use base::Duration;
use doctor::{Asked, Finding, Grade, Report, Request};
use netguard::Client;
use shm::ReadMap;
use shm::header::State;
use std::path::{Path, PathBuf};

/// Failovers that are asked for, to learn how long an agreement takes here.
const FAILOVERS: u32 = 64;
/// How long stalls and stolen time are measured.
const MEASURE: Duration = Duration::from_millis(2_000);

/// What the command line says.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) config: &'a Path,
    pub(super) node: Option<&'a str>,
    pub(super) listen_s: u64,
    pub(super) run_dir: &'a Path,
}

pub(super) fn run(client: Result<Client, String>, order: &Order<'_>, output: &Output) -> Done {
    let request = Request {
        config: PathBuf::from(order.config),
        node: order.node.map(str::to_owned),
        listen: Duration::from_millis(order.listen_s.saturating_mul(1_000)),
        measure: MEASURE,
        asked: ask(client, order.run_dir),
    };
    let report = doctor::examine(&request);
    output.answer(&report, |paint| show(&report, paint));
    Ok(exit(report.worst))
}

/// The codes of monitoring plug-ins: 0 fine, 1 warning, 2 failure.
const fn exit(worst: Grade) -> Exit {
    match worst {
        Grade::Ok | Grade::Notice => Exit::Fine,
        Grade::Warning => Exit::Refused,
        Grade::Failure => Exit::Usage,
    }
}

/// Whatever the daemons cannot say is left to the checks that do without.
fn ask(client: Result<Client, String>, run_dir: &Path) -> Asked {
    let mut asked = Asked {
        status: Err(String::new()),
        failovers: api::Failovers::default(),
        counters: std::collections::BTreeMap::new(),
        pid: None,
    };
    match client {
        Ok(mut client) => {
            asked.status = client.status().map_err(|e| e.to_string());
            asked.failovers = client.failovers(FAILOVERS).unwrap_or_default();
        }
        Err(why) => asked.status = Err(why),
    }
    if let Ok(map) = ReadMap::open(&run_dir.join(shm::map::NAME)) {
        let header = map.header();
        asked.counters = map.counters().collect();
        asked.pid = Some(header.pid()).filter(|pid| {
            let running = matches!(header.state(), State::Running | State::Starting);
            running && Path::new(&format!("/proc/{pid}")).exists()
        });
    }
    asked
}

fn show(report: &Report, paint: Paint) -> String {
    let mut text = verdict(report, paint);
    let mut area = None;
    let width = report.findings.iter().map(|it| name(it).chars().count()).max().unwrap_or(0);
    for finding in &report.findings {
        if area != Some(finding.area) {
            area = Some(finding.area);
            text.push_str(&format!("\n{}\n", paint.tone(Tone::Strong, finding.area.name())));
        }
        text.push_str(&lines(finding, width, paint));
    }
    text
}

fn verdict(report: &Report, paint: Paint) -> String {
    let who = paint.tone(Tone::Strong, report.node.as_deref().unwrap_or("this machine"));
    let (failures, warnings) = (report.count(Grade::Failure), report.count(Grade::Warning));
    let notices = counted(report.count(Grade::Notice), "notice");
    let word = match report.worst {
        Grade::Ok | Grade::Notice => {
            let word = paint.tone(Tone::Good, "will keep its promises");
            return format!("{who}: {word}; {notices}\n");
        }
        Grade::Warning => {
            paint.tone(Tone::Warning, "will keep its promises less well than it could")
        }
        Grade::Failure => paint.tone(Tone::Bad, "WILL NOT KEEP ITS PROMISES"),
    };
    let failures = counted(failures, "failure");
    format!("{who}: {word}: {failures}, {}, {notices}\n", counted(warnings, "warning"))
}

fn name(finding: &Finding) -> String {
    if finding.subject.is_empty() {
        return finding.check.to_owned();
    }
    format!("{} ({})", finding.check, finding.subject)
}

fn lines(finding: &Finding, width: usize, paint: Paint) -> String {
    let (tone, word) = match finding.grade {
        Grade::Ok => (Tone::Good, "ok"),
        Grade::Notice => (Tone::Faint, "notice"),
        Grade::Warning => (Tone::Warning, "warning"),
        Grade::Failure => (Tone::Bad, "FAILURE"),
    };
    let name = name(finding);
    let gap = " ".repeat(width - name.chars().count().min(width));
    let grade = format!("{}{}", paint.tone(tone, word), " ".repeat(7 - word.len()));
    let measured = paint.tone(Tone::Plain, &finding.measured);
    let mut text = format!("  {grade}  {}{gap}  {measured}\n", paint.tone(Tone::Plain, &name));
    if finding.grade != Grade::Ok {
        text.push_str(&format!("           why: {}\n", paint.tone(Tone::Faint, finding.why)));
        if !finding.remedy.is_empty() {
            text.push_str(&format!(
                "           do:  {}\n",
                paint.tone(Tone::Plain, &finding.remedy)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{exit, show};
    use crate::commands::samples::compare;
    use crate::failure::Exit;
    use crate::text::Paint;
    use doctor::{Area, Finding, Grade, Report};

    const PLAIN: Paint = Paint { colour: false };

    fn finding(area: Area, check: &'static str, subject: &str, grade: Grade) -> Finding {
        let remedy = if grade == Grade::Ok { "" } else { "ip link set eth1 up" };
        Finding {
            area,
            check,
            subject: subject.into(),
            grade,
            measured: "eth1\u{1b}[2J is what was found".into(),
            why: "because",
            remedy: remedy.into(),
        }
    }

    fn report(worst: Grade) -> Report {
        let findings = vec![
            finding(Area::Clock, "clock-source", "", Grade::Ok),
            finding(Area::Links, "interface", "blue", worst),
            finding(Area::Links, "mtu", "blue", Grade::Ok),
        ];
        Report { node: Some("n1".into()), worst, findings }
    }

    #[test]
    fn the_verdict_comes_first_and_what_is_not_fine_has_its_remedy() {
        let shown = show(&report(Grade::Failure), PLAIN);
        assert!(shown.starts_with("n1: WILL NOT KEEP ITS PROMISES: 1 failure, 0 warnings"));
        assert!(!shown.contains('\u{1b}'));
        compare("doctor.txt", &shown);
        assert!(
            show(&report(Grade::Notice), PLAIN).starts_with("n1: will keep its promises; 1 notice")
        );
    }

    #[test]
    fn the_exit_code_is_the_worst_grade() {
        let codes = [Grade::Ok, Grade::Notice, Grade::Warning, Grade::Failure].map(exit);
        assert_eq!(codes, [Exit::Fine, Exit::Fine, Exit::Refused, Exit::Usage]);
        assert_eq!((Exit::Refused as u8, Exit::Usage as u8), (1, 2));
    }
}
