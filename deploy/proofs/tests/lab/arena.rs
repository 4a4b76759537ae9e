//! What every lab test gets: the guests' tree, the programs, and where results go.

use lab::{DiskSpec, Lab, NodeSpec, Result, Spec, image};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use testbed::programs::Programs;

/// Given to every test.
pub(crate) struct Arena {
    image: PathBuf,
    programs: PathBuf,
    cache: PathBuf,
    /// Where a proof's table goes.
    pub(crate) results: PathBuf,
    /// Trials of each variant of what is measured; a few for a test, many for a bench.
    pub(crate) trials: usize,
    /// Measure instead of test.
    pub(crate) benches: bool,
    labs: AtomicU32,
}

impl Arena {
    /// From the command line; the rest are filters.
    pub(crate) fn from_arguments(
        mut words: impl Iterator<Item = String>,
    ) -> std::result::Result<(Self, Vec<String>), String> {
        let (mut cache, mut programs, mut trials, mut benches) = (None, None, 2, false);
        let mut filters = vec![];
        while let Some(word) = words.next() {
            match word.as_str() {
                "--cache" => cache = words.next().map(PathBuf::from),
                "--bin-dir" => programs = words.next().map(PathBuf::from),
                "--trials" => {
                    let text = words.next().unwrap_or_default();
                    trials = text.parse().map_err(|_| format!("`--trials {text}`: a number"))?;
                }
                "--bench" => benches = true,
                // Options of cargo's own test runner (--quiet …) mean nothing here.
                word if word.starts_with("--") => {}
                _ => filters.push(word),
            }
        }
        let cache = cache.ok_or("`--cache DIR` is missing: where the guests' tree is kept")?;
        let image = image::provide(&cache).map_err(|error| error.to_string())?;
        let programs = Programs::find(programs.as_deref()).dir().to_owned();
        let (results, labs) = (cache.join("results"), AtomicU32::new(0));
        Ok((Self { image, programs, cache, results, trials, benches, labs }, filters))
    }

    /// A pair with witness and client, under a name that no other lab has.
    pub(crate) fn pair(&self) -> Spec {
        let number = self.labs.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let logs = self.cache.join("log").join(&name);
        Spec::pair(&name, self.image.clone(), self.programs.clone(), logs)
    }

    /// Where the guests' tree is kept, and logs.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// One storage node with these disks, and nothing else.
    pub(crate) fn single(&self, disks: &[DiskSpec]) -> Spec {
        let mut spec = self.pair();
        spec.nodes = vec![NodeSpec::storage("a", 1, disks.to_vec())];
        spec
    }

    /// Boots it.
    pub(crate) fn start(&self, spec: &Spec) -> Result<Lab> {
        Lab::start(spec)
    }
}
