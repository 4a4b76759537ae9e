//! `ng config check`: every fault of a file at once. `ng config show`: what is agreed.

use super::Done;
use crate::failure::Exit;
use crate::output::Output;
use crate::text::{Paint, Tone, clean, counted};
use api::ConfigurationAnswer;
use config::{Config, Report, Severity};
use netguard::Client;
use serde::Serialize;
use std::path::Path;

/// The object.
#[derive(Serialize)]
struct Object {
    file: String,
    usable: bool,
    errors: usize,
    warnings: usize,
    /// 16 hex digits, equal on all nodes; absent if the file is not usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_hash: Option<String>,
    diagnostics: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    severity: &'static str,
    /// 0 = not about a place in the file.
    line: usize,
    column: usize,
    width: usize,
    message: String,
    remedy: String,
}

pub(super) fn check(file: &Path, node: Option<&str>, skip_key: bool, output: &Output) -> Done {
    let read = if skip_key {
        config::load_without_key(file)
    } else {
        config::load(file).map(|loaded| (loaded.config, loaded.warnings))
    };
    let (config, report) = match read {
        Ok((config, report)) => (Some(config), report),
        Err(report) => (None, report),
    };
    let unknown = config.as_ref().zip(node).and_then(|(config, node)| config.for_node(node).err());
    let mut object = object(&report, config.as_ref());
    if let Some(unknown) = &unknown {
        object.usable = false;
        object.errors += 1;
        object.diagnostics.push(Found {
            severity: "error",
            line: 0,
            column: 0,
            width: 1,
            message: unknown.to_string(),
            remedy: unknown.remedy(),
        });
    }
    output.answer(&object, |paint| {
        let mut text = report.to_string();
        if let Some(unknown) = &unknown {
            let message = clean(&format!("{}: error: {unknown}", object.file));
            text.push_str(&format!("{message}\n  remedy: {}\n", clean(&unknown.remedy())));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let file = clean(&object.file);
        let found =
            format!("{}, {}", counted(object.errors, "error"), counted(object.warnings, "warning"));
        match &config {
            Some(config) if object.usable => {
                let word = paint.tone(Tone::Good, "usable");
                text.push_str(&format!("{file}: {word}: {}; {found}\n", summary(config)));
            }
            _ => {
                let word = paint.tone(Tone::Bad, "NOT USABLE");
                text.push_str(&format!("{file}: {word}: {found}\n"));
            }
        }
        text
    });
    Ok(if object.usable { Exit::Fine } else { Exit::Usage })
}

fn object(report: &Report, config: Option<&Config>) -> Object {
    let found = report.diagnostics.iter().map(|found| Found {
        severity: match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        line: found.line,
        column: found.column,
        width: found.width,
        message: found.message.clone(),
        remedy: found.remedy.clone(),
    });
    Object {
        file: report.file.clone(),
        usable: config.is_some(),
        errors: report.count(Severity::Error),
        warnings: report.count(Severity::Warning),
        config_hash: config.map(|config| format!("{:016x}", config.config_hash())),
        diagnostics: found.collect(),
    }
}

pub(super) fn show(client: &mut Client, plain: bool, output: &Output) -> Done {
    let agreed = client.configuration()?;
    output.answer(
        &agreed,
        |paint| if plain { agreed.document.clone() } else { header(&agreed, paint) },
    );
    Ok(Exit::Fine)
}

/// What is to be known of the document, then its text.
fn header(agreed: &ConfigurationAnswer, paint: Paint) -> String {
    let configuration = &agreed.configuration;
    let mut text = match configuration.version {
        0 => format!("{} has agreed on nothing yet: this is its file\n", clean(&agreed.node)),
        version => format!(
            "version {version}, hash {}, as {} knows it\n",
            configuration.hash,
            clean(&agreed.node)
        ),
    };
    if configuration.understood > configuration.level {
        let line = format!(
            "feature level {}; all understand {}: `ng cluster upgrade` puts it in force",
            configuration.level, configuration.understood
        );
        text.push_str(&format!("{}\n", paint.tone(Tone::Warning, &line)));
    }
    let voters = clean(&configuration.voters.join(", "));
    text.push_str(&format!(
        "votes in force: {}\n",
        if voters.is_empty() { "none" } else { &voters }
    ));
    for pending in &configuration.pending {
        text.push_str(&format!("  {}\n", paint.tone(Tone::Warning, &pending.line())));
    }
    let (have, others): (Vec<_>, Vec<_>) = agreed.held_by.iter().partition(|holder| holder.has);
    let have: Vec<&str> = have.iter().map(|holder| holder.node.as_str()).collect();
    if !agreed.held_by.is_empty() {
        text.push_str(&format!("stored by: {}\n", clean(&have.join(", "))));
    }
    for holder in others {
        text.push_str(&format!("  not by {}: {}\n", clean(&holder.node), clean(&holder.note)));
    }
    if agreed.file_differs {
        let line =
            format!("{}'s own file differs: it is not used, but for its [local]", agreed.node);
        text.push_str(&format!("{}\n", paint.tone(Tone::Warning, &line)));
    }
    let lines = agreed.document.lines().map(|line| format!("{}\n", clean(line)));
    text + "\n" + &lines.collect::<String>()
}

fn summary(config: &Config) -> String {
    format!(
        "{}, {}, {}, suspect after {}, hash {:016x}",
        counted(config.nodes.len(), "node"),
        counted(config.links.len(), "link"),
        counted(config.services.len(), "service"),
        config::format_duration(config.deadline()),
        config.config_hash()
    )
}
