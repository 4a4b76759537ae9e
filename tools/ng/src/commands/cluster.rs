//! `ng cluster override`: the operator's word that voters are gone for good.

use super::Done;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::text::{Tone, clean};
use netguard::Client;

/// Asks before an assertion that only the operator can make, and on which everything rests afterwards.
pub(super) fn may_override(absent: &[String], yes: bool, output: &Output) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let names = absent.join(",");
    let warning = format!(
        "You assert that {} off, and stay off until they join again.\n\
         If one of them still runs, its services run twice: data can be lost.\n\
         What only they had is lost: moves, orders and changes of the configuration that only they had stored.\n\
         It is on record that you said so.",
        are(absent)
    );
    match output
        .ask(&warning, &format!("Look at the machines, then type {names} if they are off: "))
    {
        Some(answer) if same(&answer, absent) => Ok(()),
        Some(_) => {
            let message = "these are not their names: nothing was done";
            Err(Failure::new(Exit::Refused, "not-confirmed", message, "look, then ask again"))
        }
        None => {
            let message = format!("that {} off must be confirmed by a person", are(absent));
            let remedy = "run it on a terminal, or add --yes if you have looked";
            Err(Failure::new(Exit::Usage, "not-confirmed", message, remedy))
        }
    }
}

fn are(absent: &[String]) -> String {
    let verb = if absent.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", clean(&absent.join(", ")))
}

/// The same names, however they are separated and in whatever order.
fn same(answer: &str, absent: &[String]) -> bool {
    let words = answer.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let mut words: Vec<&str> = words.collect();
    let mut names: Vec<&str> = absent.iter().map(String::as_str).collect();
    words.sort_unstable();
    names.sort_unstable();
    words == names
}

pub(super) fn override_absent(client: &mut Client, absent: &[String], output: &Output) -> Done {
    let done = client.override_absent(absent)?;
    output.answer(&done, |paint| {
        let names = paint.tone(Tone::Strong, &done.absent.join(", "));
        format!("on record: {names} off by your word; the others begin anew, see `ng status`\n")
    });
    Ok(Exit::Fine)
}

pub(super) fn upgrade(client: &mut Client, output: &Output) -> Done {
    let done = client.upgrade()?;
    output.answer(&done, |paint| {
        let word = paint.tone(Tone::Good, "agreed");
        format!("{word} as version {}: older releases can take no part any more\n", done.version)
    });
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::{are, same};

    #[test]
    fn the_names_must_be_typed_all_of_them() {
        let absent = ["n3".to_owned(), "n4".to_owned()];
        assert!(same("n4, n3", &absent) && same("n3,n4", &absent) && same(" n3 n4 ", &absent));
        assert!(
            !same("n3", &absent)
                && !same("yes", &absent)
                && !same("", &absent)
                && !same("n3,n4,n5", &absent)
        );
        assert_eq!(are(&absent), "n3, n4 are");
    }
}
