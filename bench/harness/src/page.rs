//! A report as one HTML file that needs no other: verdicts, figures, plots, the machine.

use crate::plot::{self, Curve};
use base::Duration;
use serde::Serialize;
use std::fmt::Write as _;

/// One row of figures; milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// What was measured.
    pub id: String,
    /// How many values.
    pub count: u64,
    /// Half of them are no more than this.
    pub p50_ms: f64,
    /// 90 of 100.
    pub p90_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// 999 of 1,000.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Figures {
    /// Of values that come as value and count, in any order; none if there are none.
    #[must_use]
    pub fn of(id: impl Into<String>, counts: &[(Duration, u64)]) -> Option<Self> {
        let mut sorted: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
        sorted.sort_unstable();
        let count: u64 = sorted.iter().map(|(_, count)| count).sum();
        let at = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let reached = |(_, count): &&&(Duration, u64)| {
                seen += count;
                seen >= rank
            };
            sorted.iter().find(reached).map_or(0.0, |(value, _)| value.nanos() as f64 / 1e6)
        };
        Some(Self {
            id: id.into(),
            count,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: sorted.last()?.0.nanos() as f64 / 1e6,
        })
    }
}

/// Something that was promised, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Does it hold?
    pub holds: bool,
    /// What, with the figures.
    pub text: String,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Page {
    /// Its heading.
    pub title: String,
    /// What was done, in a sentence or two.
    pub about: String,
    /// What was promised.
    pub verdicts: Vec<Verdict>,
    /// The figures.
    pub rows: Vec<Figures>,
    /// Name and value of what describes the machine.
    pub machine: Vec<(String, String)>,
    /// Title and curves of each plot.
    #[serde(skip)]
    pub plots: Vec<(String, Vec<Curve>)>,
}

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}table{border-collapse:collapse;width:100%}\
td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:#00694b}.bad{color:#b3261e;font-weight:600}\
svg{width:100%;height:auto}code{overflow-wrap:anywhere}";

impl Page {
    /// True if everything that was promised holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// The file.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{}</p>\n<h2>Verdicts</h2>\n<table>\n",
            escape(&self.about)
        );
        for Verdict { holds, text: what } in &self.verdicts {
            let (class, word) = if *holds { ("good", "holds") } else { ("bad", "MISSED") };
            let _ = writeln!(
                text,
                "<tr><td class=\"{class}\">{word}</td><td>{}</td></tr>",
                escape(what)
            );
        }
        text.push_str("</table>\n<h2>Figures, in milliseconds</h2>\n<table>\n<tr><th></th>");
        for heading in ["count", "p50", "p90", "p99", "p99.9", "max"] {
            let _ = write!(text, "<th class=\"n\">{heading}</th>");
        }
        text.push_str("</tr>\n");
        for row in &self.rows {
            let _ =
                write!(text, "<tr><td>{}</td><td class=\"n\">{}</td>", escape(&row.id), row.count);
            for figure in [row.p50_ms, row.p90_ms, row.p99_ms, row.p999_ms, row.max_ms] {
                let _ = write!(text, "<td class=\"n\">{figure:.3}</td>");
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table>\n");
        for (title, curves) in &self.plots {
            match plot::draw(title, curves) {
                Ok(svg) => text.push_str(&svg),
                Err(why) => {
                    let _ = write!(text, "<p>{}</p>", escape(&why));
                }
            }
            text.push('\n');
        }
        text.push_str("<h2>The machine</h2>\n<table>\n");
        for (name, value) in &self.machine {
            let (name, value) = (escape(name), escape(value));
            let _ = writeln!(text, "<tr><td>{name}</td><td><code>{value}</code></td></tr>");
        }
        text.push_str("</table>\n</body></html>\n");
        text
    }
}

/// Text as HTML has it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Figures, Page, Verdict};
    use base::Duration;

    #[test]
    fn figures_are_values_that_were_counted() {
        let counts = [(Duration::from_millis(5), 1), (Duration::from_millis(1), 999)];
        let row = Figures::of("x", &counts).unwrap();
        assert_eq!((row.count, row.p50_ms, row.p999_ms, row.max_ms), (1_000, 1.0, 1.0, 5.0));
        assert!(Figures::of("x", &[(Duration::ZERO, 0)]).is_none());
    }

    #[test]
    fn the_page_needs_no_other_file_and_trusts_no_text() {
        let page = Page {
            title: "a <b> & c".into(),
            verdicts: vec![Verdict { holds: false, text: "too \"late\"".into() }],
            plots: vec![("plot".into(), Vec::new())],
            ..Page::default()
        };
        let html = page.html();
        assert!(!page.holds());
        assert!(html.contains("a &lt;b&gt; &amp; c") && html.contains("too &quot;late&quot;"));
        assert!(html.contains("MISSED") && html.contains("<svg"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
