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
    let rows = rows(&report.findings);
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    for row in &rows {
        if area != Some(row.first.area) {
            area = Some(row.first.area);
            let name = row.first.area.name();
            text.push_str(&format!("\n{}\n", paint.tone(Tone::Strong, name)));
        }
        text.push_str(&lines(row, width, paint));
    }
    text
}

/// What is shown as one: a finding, or all that are fine of one check.
struct Row<'r> {
    first: &'r Finding,
    name: String,
    measured: String,
}

/// On a large cluster hundreds of paths are fine; what is not must not drown among them.
fn rows(findings: &[Finding]) -> Vec<Row<'_>> {
    /// So many are named.
    const NAMED: usize = 2;
    let mut rows: Vec<Row<'_>> = Vec::new();
    for finding in findings {
        let fine = |it: &&Finding| it.grade == Grade::Ok && it.check == finding.check;
        if finding.grade != Grade::Ok || finding.subject.is_empty() {
            let (name, measured) = (name(finding), finding.measured.clone());
            rows.push(Row { first: finding, name, measured });
            continue;
        }
        if rows.iter().any(|row| row.first.grade == Grade::Ok && row.first.check == finding.check) {
            continue;
        }
        let alike: Vec<&Finding> = findings.iter().filter(fine).collect();
        let mut subjects: Vec<&str> = alike.iter().map(|it| it.subject.as_str()).collect();
        let more = subjects.len().saturating_sub(NAMED);
        subjects.truncate(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let name = format!("{} ({}{more})", finding.check, subjects.join(", "));
        let mut measured: Vec<&str> = alike.iter().map(|it| it.measured.as_str()).collect();
        measured.dedup();
        let more = if measured.len() > 1 { ", and alike" } else { "" };
        let measured = format!("{}{more}", finding.measured);
        rows.push(Row { first: finding, name, measured });
    }
    rows
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

fn lines(row: &Row<'_>, width: usize, paint: Paint) -> String {
    let (finding, name) = (row.first, &row.name);
    let (tone, word) = match finding.grade {
        Grade::Ok => (Tone::Good, "ok"),
        Grade::Notice => (Tone::Faint, "notice"),
        Grade::Warning => (Tone::Warning, "warning"),
        Grade::Failure => (Tone::Bad, "FAILURE"),
    };
    let gap = " ".repeat(width - name.chars().count().min(width));
    let grade = format!("{}{}", paint.tone(tone, word), " ".repeat(7 - word.len()));
    let measured = paint.tone(Tone::Plain, &row.measured);
    let mut text = format!("  {grade}  {}{gap}  {measured}\n", paint.tone(Tone::Plain, name));
    if finding.grade != Grade::Ok {
        text.push_str(&format!("           why: {}\n", paint.tone(Tone::Faint, finding.why)));
        if !finding.remedy.is_empty() {
            let remedy = paint.tone(Tone::Plain, &finding.remedy);
            text.push_str(&format!("           do:  {remedy}\n"));
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
    fn what_is_fine_of_one_check_is_one_line_and_what_is_not_keeps_its_own() {
        let peers = ["blue n2", "blue n3", "blue n4", "red n2", "red n3", "red n4"];
        let mut findings: Vec<Finding> = peers
            .iter()
            .map(|peer| finding(Area::Links, "peer-reached", peer, Grade::Ok))
            .collect();
        findings[1].grade = Grade::Warning;
        findings[5].measured = "answers late".into();
        let shown = show(&Report { node: None, worst: Grade::Warning, findings }, PLAIN);
        let named = "peer-reached (blue n2, blue n4 and 3 more)";
        assert!(shown.contains(named), "{shown}");
        assert!(shown.contains("was found, and alike\n"), "{shown}");
        assert_eq!(shown.matches("peer-reached").count(), 2);
        assert!(shown.contains("warning  peer-reached (blue n3)"), "{shown}");
    }

    #[test]
    fn the_exit_code_is_the_worst_grade() {
        let codes = [Grade::Ok, Grade::Notice, Grade::Warning, Grade::Failure].map(exit);
        assert_eq!(codes, [Exit::Fine, Exit::Fine, Exit::Refused, Exit::Usage]);
        assert_eq!((Exit::Refused as u8, Exit::Usage as u8), (1, 2));
    }
}
