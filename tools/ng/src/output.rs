//! Where everything is printed.

use crate::args::Form;
use crate::failure::Failure;
use crate::text::{Paint, Tone};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How to print, and whether in colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) form: Form,
    out: Paint,
    err: Paint,
}

impl Output {
    pub(crate) fn new(form: Form) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = !set("NO_COLOR") && !dumb;
        let out = Paint { colour: wanted && io::stdout().is_terminal() };
        let err = Paint { colour: wanted && io::stderr().is_terminal() };
        Self { form, out, err }
    }

    /// Prints one answer: the object, or the text made from it. False once nobody reads.
    pub(crate) fn answer<T: Serialize>(&self, object: &T, text: impl Fn(Paint) -> String) -> bool {
        let shown = match self.form {
            Form::Text => text(self.out),
            Form::Json => serde_json::to_string(object).unwrap_or_default() + "\n",
        };
        // `ng … | head` ends the reader first: that is no failure of ours.
        let mut stdout = io::stdout().lock();
        stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()).is_ok()
    }

    /// Prints on the way to an answer, for people only: to stderr, so that standard output has the answer alone.
    pub(crate) fn tell(&self, text: impl Fn(Paint) -> String) {
        if self.form == Form::Text {
            let _ = io::stderr().write_all(text(self.err).as_bytes());
        }
    }

    /// Prints why a command was not done: text to stderr, the object to stdout where programs read.
    pub(crate) fn failure(&self, failure: &Failure) {
        #[derive(Serialize)]
        struct Object<'f> {
            error: &'f Failure,
        }
        if self.form == Form::Json {
            self.answer(&Object { error: failure }, |_| String::new());
            return;
        }
        let word = self.err.tone(Tone::Bad, "ng:");
        let message = self.err.tone(Tone::Plain, &failure.message);
        let remedy = self.err.tone(Tone::Plain, &failure.remedy);
        let _ = writeln!(io::stderr(), "{word} {message}\n    do: {remedy}");
    }

    /// Asks on the terminal; `None` if there is nobody to ask.
    pub(crate) fn ask(&self, warning: &str, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let warning = self.err.tone(Tone::Warning, warning);
        let _ = write!(io::stderr(), "{warning}\n{question}");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }
}
