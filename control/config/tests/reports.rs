//! What the operator reads: each `testdata/NN-*.toml` with the report beside it.
//!
//! After a wanted change of wording: `NG_BLESS=1 cargo test -p ng-config`, then read the
//! difference.

use std::fs;
use std::path::Path;

#[test]
fn reports_are_what_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .expect("testdata is there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 8);
    let mut changed = Vec::new();
    for case in cases {
        let text = fs::read_to_string(&case).expect("readable");
        let name = case.file_name().and_then(|name| name.to_str()).expect("a name");
        let shown = match ng_config::parse(name, &text) {
            Ok((_, report)) => format!("usable\n{report}"),
            Err(report) => {
                assert!(report.has_errors());
                format!("not usable\n{report}")
            }
        };
        let expected = case.with_extension("txt");
        if std::env::var_os("NG_BLESS").is_some() {
            fs::write(&expected, &shown).expect("writable");
        } else if fs::read_to_string(&expected).unwrap_or_default() != shown {
            changed.push(format!("{name} now says:\n{shown}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}
