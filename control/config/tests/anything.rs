//! Whatever text comes, it is read without a panic, and what is refused is refused with a reason.

use ng_config::{Severity, parse};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

const GOOD: &str = include_str!("../testdata/good.toml");
const BETWEEN: &str = include_str!("../testdata/04-between.toml");

fn read(text: &str) {
    match parse("any.toml", text) {
        Ok((config, report)) => {
            assert!(!report.has_errors());
            let _ = (config.config_hash(), config.cluster_id(), report.to_string());
        }
        Err(report) => {
            assert!(report.has_errors());
            for found in &report.diagnostics {
                assert!(!found.message.is_empty() && !found.remedy.is_empty());
                assert!(found.line >= 1 && found.column >= 1 && found.width >= 1);
                assert!(found.severity == Severity::Error || !found.remedy.is_empty());
            }
            let _ = report.to_string();
        }
    }
}

/// A piece that is likely to fit somewhere.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\\[\\]{}=\",.#'\n\t ]{1,8}",
        "(true|-1|0x10|1e9|inf|1979-05-27|\"\"|\"10ms\"|\"\\\\u0000\"|99999999999999999999)",
        "(\\[\\[node\\]\\]|\\[cluster\\]|\\[service\\]|\\[\\[service.resource\\]\\]|name|kind)",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn arbitrary_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        read(&pieces.concat());
    }

    #[test]
    fn a_file_with_a_part_replaced(
        which in any::<bool>(),
        at in any::<prop::sample::Index>(),
        length in 0..40_usize,
        piece in piece(),
    ) {
        let whole = if which { GOOD } else { BETWEEN };
        let starts: Vec<usize> = whole.char_indices().map(|(place, _)| place).collect();
        let start = *at.get(&starts);
        let end = starts.iter().copied().find(|end| *end >= start + length).unwrap_or(whole.len());
        read(&format!("{}{piece}{}", &whole[..start], &whole[end..]));
    }
}
