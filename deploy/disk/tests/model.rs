//! The cache against a naive model: for each sector, the set of versions that a power cut may show.

use disk::cache::Cache;
use disk::store::Memory;
use disk::{SECTOR, Tally};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use std::collections::BTreeSet;

const SECTORS: u64 = 48;

/// What happens to the disk.
#[derive(Clone, Debug)]
enum Step {
    Write { at: u64, sectors: u64 },
    Zero { at: u64, sectors: u64 },
    Read { at: u64, bytes: u64 },
    Flush,
    Cut { seed: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let span =
        || (0..SECTORS).prop_flat_map(|at| (0..=(SECTORS - at).min(12)).prop_map(move |n| (at, n)));
    let step = prop_oneof![
        12 => span().prop_map(|(at, sectors)| Step::Write { at, sectors }),
        2 => span().prop_map(|(at, sectors)| Step::Zero { at, sectors }),
        4 => (0..SECTORS * SECTOR, 0..6000_u64).prop_map(|(at, bytes)| Step::Read { at, bytes }),
        2 => proptest::strategy::Just(Step::Flush),
        1 => any::<u64>().prop_map(|seed| Step::Cut { seed }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The content of a sector that write number `version` wrote; 0 is zeroes.
fn content(sector: u64, version: u64) -> Vec<u8> {
    if version == 0 {
        return vec![0; SECTOR as usize];
    }
    [sector, version].map(u64::to_le_bytes).concat().repeat(SECTOR as usize / 16)
}

struct Model {
    disk: Cache<Memory>,
    now: Vec<u64>,
    possible: Vec<BTreeSet<u64>>,
    versions: u64,
}

impl Model {
    fn new(cache_bytes: u64, seed: u64) -> Self {
        Self {
            disk: Cache::new(Memory::default(), SECTORS * SECTOR, cache_bytes, seed),
            now: vec![0; SECTORS as usize],
            possible: vec![BTreeSet::from([0]); SECTORS as usize],
            versions: 0,
        }
    }

    fn wrote(&mut self, at: u64, sectors: u64, version: u64) {
        for sector in at..at + sectors {
            self.now[sector as usize] = version;
            self.possible[sector as usize].insert(version);
        }
    }

    /// Now nothing but what is there can be there.
    fn settle(&mut self) {
        self.possible = self.now.iter().map(|version| BTreeSet::from([*version])).collect();
    }

    fn read(&mut self, at: u64, bytes: u64) -> Vec<u8> {
        let mut buffer = vec![0xEE; bytes as usize];
        self.disk.read(at, &mut buffer).unwrap();
        buffer
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Write { at, sectors } => {
                self.versions += 1;
                let data = (at..at + sectors).flat_map(|s| content(s, self.versions)).collect();
                self.disk.write(at * SECTOR, data).unwrap();
                self.wrote(at, sectors, self.versions);
            }
            Step::Zero { at, sectors } => {
                self.disk.zero(at * SECTOR, sectors * SECTOR).unwrap();
                self.wrote(at, sectors, 0);
            }
            Step::Read { at, bytes } => {
                let end = (at + bytes).min(SECTORS * SECTOR);
                let whole: Vec<u8> =
                    (0..).zip(&self.now).flat_map(|(s, version)| content(s, *version)).collect();
                let read = self.read(at, end - at);
                prop_assert!(read == whole[at as usize..end as usize], "read of {at}..{end}");
            }
            Step::Flush => {
                self.disk.flush().unwrap();
                self.settle();
            }
            Step::Cut { seed } => self.cut(seed)?,
        }
        Ok(())
    }

    fn cut(&mut self, seed: u64) -> Result<(), TestCaseError> {
        let before = self.disk.unflushed();
        let report = self.disk.cut(seed);
        let Tally { writes, bytes } = before;
        prop_assert_eq!(report.kept.writes + report.lost.writes + report.torn.writes, writes);
        prop_assert_eq!(report.kept.bytes + report.torn.bytes + report.bytes_lost(), bytes);
        prop_assert_eq!(self.disk.unflushed(), Tally::default());
        for sector in 0..SECTORS {
            let read = self.read(sector * SECTOR, SECTOR);
            let possible = &self.possible[sector as usize];
            let version = possible.iter().find(|version| read == content(sector, **version));
            let Some(version) = version else {
                let words = &read[..16];
                let text = format!("sector {sector} holds {words:?}, none of {possible:?}");
                return Err(TestCaseError::fail(text));
            };
            self.now[sector as usize] = *version;
        }
        self.settle();
        Ok(())
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 300,
        max_shrink_iters: 2000,
        ..Default::default()
    })]

    /// Reads see the newest; a flush makes it durable; a cut leaves in each sector one of the versions
    /// since the last flush or the flushed one.
    #[test]
    fn a_disk_shows_what_it_may_show(
        steps in steps(),
        cache_bytes in prop_oneof![proptest::strategy::Just(0), 0..20_000_u64],
        seed in any::<u64>(),
    ) {
        let mut model = Model::new(cache_bytes, seed);
        for step in &steps {
            model.step(step)?;
        }
        model.cut(seed)?;
    }

    /// After a flush nothing that was flushed is lost, whatever comes later elsewhere.
    #[test]
    fn what_was_flushed_stays(steps in steps(), seed in any::<u64>()) {
        let mut model = Model::new(8192, seed);
        for step in &steps {
            model.step(step)?;
        }
        model.step(&Step::Flush)?;
        let flushed = model.read(0, SECTORS * SECTOR);
        model.step(&Step::Write { at: 0, sectors: 4 })?;
        model.step(&Step::Cut { seed })?;
        let after = model.read(0, SECTORS * SECTOR);
        prop_assert!(flushed[4 * SECTOR as usize..] == after[4 * SECTOR as usize..]);
    }

    /// The same requests and seeds give the same disk: a lab that failed can be run again.
    #[test]
    fn the_seeds_decide(steps in steps(), seed in any::<u64>()) {
        let run = || {
            let mut model = Model::new(8192, seed);
            for step in &steps {
                model.step(step)?;
            }
            Ok::<_, TestCaseError>((model.disk.cut(seed), model.read(0, SECTORS * SECTOR)))
        };
        prop_assert_eq!(run()?, run()?);
    }
}
