//! Tries the crate on a real DRBD by hand: `drbd MINOR state|describe|disconnect|primary|secondary [force]`.

use drbd_glue::Drbd;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let minor = words.first().ok_or("a minor number, please")?.parse()?;
    let force = words.iter().any(|word| word == "force");
    let mut drbd = Drbd::open(Duration::from_secs(5))?;
    for word in words.iter().skip(1).filter(|word| *word != "force") {
        let path = drbd.describe(minor)?.path;
        let began = Instant::now();
        let told = match word.as_str() {
            "state" => drbd.state(minor)?.to_string(),
            "describe" => format!("{:?}", drbd.describe(minor)?.resource),
            "disconnect" => {
                drbd.disconnect(&path.ok_or("no connection is configured")?, force)?;
                String::new()
            }
            "primary" => drbd.primary(minor, force).map(|()| String::new())?,
            "secondary" => drbd.secondary(minor).map(|()| String::new())?,
            other => return Err(format!("{other}: not known").into()),
        };
        println!("{word} {told} ({:.3} ms)", began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
