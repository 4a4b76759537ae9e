//! Scenario tests: `testdata/*.txt` hold events and, after `----`, what the planner makes of them.
//! A blank line ends a case; `#` begins a comment. `NETGUARD_BLESS=1 cargo test -p ng-services`
//! writes the answers anew; read the difference before you commit it.

use membership::{Membership, Names};
use ng_services::state::GENERATIONS_PER_ERA;
use ng_services::why::{evidence_words, why};
use ng_services::{
    Body, Placement, Planner, Report, ResourceSpec, ServiceSpec, client_of, model::FencePolicy,
};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use wire::entry::{FenceProof, RemovalCause};
use wire::{
    ClientId, Configuration, Entry, EntryKind, Generation, Incarnation, Life, NodeId, NodeSet, Op,
    Seq, ServiceId, Term,
};

#[derive(Default)]
struct Scenario {
    names: Vec<String>,
    witnesses: NodeSet,
    specs: Vec<ServiceSpec>,
    wanted: Vec<ServiceSpec>,
    planner: Option<Planner>,
    membership: Membership,
    op: u64,
    lives: Vec<u32>,
}

impl Scenario {
    fn node(&self, name: &str) -> NodeId {
        let place = self.names.iter().position(|n| n == name);
        NodeId::from_index(place.unwrap_or_else(|| panic!("no node {name}"))).unwrap()
    }
    fn names(&self) -> Names {
        let name = |(i, n): (usize, &String)| (NodeId::from_index(i).unwrap(), n.clone());
        Names::new(self.names.iter().enumerate().map(name))
    }
    fn life(&self, node: NodeId) -> Life {
        Life { node, incarnation: Incarnation(self.lives[node.index()]) }
    }
    fn service(&self, name: &str) -> ServiceId {
        let spec = self.specs.iter().find(|s| s.name == name);
        spec.unwrap_or_else(|| panic!("no service {name}")).id
    }

    /// `node NAME [witness]`
    fn add_node(&mut self, words: &[&str]) {
        self.names.push(words[0].into());
        self.lives.push(1);
        if words.contains(&"witness") {
            self.witnesses.insert(self.node(words[0]));
        }
    }

    /// `service NAME fenced|lease sticky|fail-back NODE… : RESOURCE…`; `name!` is not lease-bound
    fn spec(&self, number: usize, words: &[&str]) -> ServiceSpec {
        let colon = words.iter().position(|w| *w == ":").expect("`:` before the resources");
        let resource = |word: &&str| ResourceSpec {
            name: word.trim_end_matches('!').into(),
            kind: if word.ends_with('!') { "command" } else { "address" }.into(),
            lease_bound: !word.ends_with('!'),
        };
        ServiceSpec {
            id: ServiceId(number as u16),
            name: words[0].into(),
            fence: if words[1] == "lease" { FencePolicy::Lease } else { FencePolicy::Fenced },
            placement: if words[2] == "sticky" { Placement::Sticky } else { Placement::FailBack },
            nodes: words[3..colon].iter().map(|n| self.node(n)).collect(),
            resources: words[colon + 1..].iter().map(resource).collect(),
            revision: words[colon + 1..].iter().fold(0, |sum: u64, word| {
                word.bytes().fold(sum + 1, |sum, byte| sum.wrapping_mul(31) + u64::from(byte))
            }),
        }
    }

    /// `wanted …` as `service …` collects a document, `configure` states it; nodes that are named with it are witnesses.
    fn configure(&mut self, witnesses: &[&str], out: &mut String) {
        let wanted = std::mem::take(&mut self.wanted);
        let planner = self.planner.as_mut().unwrap();
        planner.take_services(wanted);
        self.specs = planner.services().map(|(spec, _)| spec.clone()).collect();
        self.witnesses = witnesses.iter().map(|name| self.node(name)).collect();
        let nodes = (0..self.names.len()).filter_map(NodeId::from_index).collect();
        let configuration = Arc::new(Configuration::plain(nodes, self.witnesses));
        self.apply(EntryKind::Configure { configuration }, out);
    }

    fn apply(&mut self, kind: EntryKind, out: &mut String) {
        self.op += 1;
        let life = Life { node: NodeId::new(1).unwrap(), incarnation: Incarnation(1) };
        let term = Term { era: 1, counter: 1, life };
        let entry = Entry { term, level: 1, kind };
        self.membership.apply(Op(self.op), &entry);
        let (specs, witnesses) = (&self.specs, self.witnesses);
        let planner = self.planner.get_or_insert_with(|| Planner::new(specs.clone(), witnesses));
        let applied = planner.apply(Op(self.op), &entry, &self.membership);
        if let Some(Err(refusal)) = applied.answer {
            writeln!(out, "refused: {refusal}").unwrap();
        }
        for id in applied.changed {
            self.describe(id, out);
        }
    }

    fn request(&mut self, client: ClientId, body: &Body, out: &mut String) {
        let (seq, body) = (Seq(self.op), body.encode().into());
        self.apply(EntryKind::Request { client, seq, body }, out);
    }

    fn describe(&self, id: ServiceId, out: &mut String) {
        let Some((spec, state)) = self.planner.as_ref().unwrap().service(id) else {
            let name = self.specs.iter().find(|it| it.id == id).map(|it| it.name.clone());
            return writeln!(
                out,
                "{}: forgotten",
                name.unwrap_or_else(|| format!("number {}", id.0))
            )
            .unwrap();
        };
        let names = self.names();
        write!(out, "{}: {}", spec.name, state.phase.name()).unwrap();
        if let Some(owner) = state.holder() {
            let (node, life) = (names.of(owner.life.node), owner.life.incarnation.0);
            let generation = state.generation.0 % GENERATIONS_PER_ERA;
            write!(out, " {node}.{life} g{generation}").unwrap();
            if let (ng_services::Phase::Starting, Some(evidence)) = (state.phase, state.evidence) {
                write!(out, " [{}]", evidence_words(evidence)).unwrap();
            }
        }
        writeln!(out, ": {}", state.reason.words(&names)).unwrap();
    }

    /// `started|stopped|failed|stuck|died SERVICE [reason…] [by NODE] [of GENERATION]`
    fn report(&mut self, words: &[&str], out: &mut String) {
        let id = self.service(words[1]);
        let (_, state) = self.planner.as_ref().unwrap().service(id).unwrap();
        let after = |key| words.iter().position(|w| *w == key).map(|i| words[i + 1]);
        let owner = state.owner.expect("nobody owns it").life;
        let life = after("by").map_or(owner, |n| self.life(self.node(n)));
        let count = after("of").map(|g| g.parse::<u64>().unwrap());
        let era = state.generation.0 - state.generation.0 % GENERATIONS_PER_ERA;
        let generation = count.map_or(state.generation, |g| Generation(era + g));
        let end = words.iter().position(|w| *w == "by" || *w == "of").unwrap_or(words.len());
        let reason = words[2..end].join(" ");
        let report = match words[0] {
            "started" => Report::Started,
            "stopped" => Report::Stopped,
            "failed" => Report::Failed(reason),
            "stuck" => Report::Stuck(reason),
            _ => Report::Died(reason),
        };
        self.request(client_of(life), &Body::Outcome { service: id, generation, report }, out);
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let operator = ClientId(u64::MAX);
        match words[0] {
            "node" => self.add_node(&words[1..]),
            "service" => self.specs.push(self.spec(self.specs.len(), &words[1..])),
            "wanted" => self.wanted.push(self.spec(self.wanted.len(), &words[1..])),
            "configure" => self.configure(&words[1..], out),
            "cold" => {
                let era = self.membership.view().era + 1;
                self.op = 0;
                let admits = words.len() as u8 - 1;
                let (electorate, absent) = (NodeSet(u128::MAX), NodeSet::EMPTY);
                let cold = EntryKind::Cold { era, admits, version: 0, electorate, absent };
                self.apply(cold, out);
                words[1..].iter().for_each(|n| self.admit(n, out));
                let configuration = Arc::new(Configuration::plain(electorate, self.witnesses));
                // At the op of the last Admit: the files count without it.
                self.op -= 1;
                self.apply(EntryKind::Configure { configuration }, out);
            }
            "restart" => {
                let node = self.node(words[1]);
                self.lives[node.index()] += 1;
            }
            "admit" => self.admit(words[1], out),
            "remove" => {
                let node = self.node(words[1]);
                let member = self.membership.view().member(node).expect("no member");
                let cause = match words[2] {
                    "silent" => RemovalCause::Silent,
                    "obituary" => RemovalCause::Obituary,
                    _ => RemovalCause::Operator,
                };
                let (incarnation, stint) = (member.life.incarnation, member.stint);
                self.apply(EntryKind::Remove { node, incarnation, stint, cause }, out);
            }
            "fenced" => {
                let Life { node, incarnation } = self.life(self.node(words[1]));
                let proof = FenceProof::Operator;
                self.apply(EntryKind::Fenced { node, incarnation, proof }, out);
            }
            "started" | "stopped" | "failed" | "stuck" | "died" => self.report(&words, out),
            "move" => {
                let (service, to) = (self.service(words[1]), self.node(words[2]));
                self.request(operator, &Body::Move { service, to }, out);
            }
            "clear" => {
                let service = self.service(words[1]);
                self.request(operator, &Body::ClearFailures { service }, out);
            }
            "fail-back" => {
                let (service, to) = (self.service(words[1]), self.node(words[2]));
                let (_, state) = self.planner.as_ref().unwrap().service(service).unwrap();
                let era = state.generation.0 - state.generation.0 % GENERATIONS_PER_ERA;
                let of = words.iter().position(|w| *w == "of").map(|i| words[i + 1]);
                let count = of.map(|g| Generation(era + g.parse::<u64>().unwrap()));
                let generation = count.unwrap_or(state.generation);
                self.request(operator, &Body::FailBack { service, generation, to }, out);
            }
            "leave" => {
                let life = self.life(self.node(words[1]));
                let speaker = words.get(3).map_or(life, |n| self.life(self.node(n)));
                self.request(client_of(speaker), &Body::Leave { life }, out);
            }
            "clean" => {
                let life = self.life(self.node(words[1]));
                self.request(client_of(life), &Body::Clean { life }, out);
            }
            "gate" => {
                let life = self.life(self.node(words[1]));
                let whole = words[2] == "whole";
                self.request(client_of(life), &Body::Gate { life, whole }, out);
            }
            "garbage" => {
                let body = words[1..].iter().map(|b| b.parse().unwrap()).collect();
                let client = operator;
                self.apply(EntryKind::Request { client, seq: Seq(1), body }, out);
            }
            "why" => self.why(words[1], out),
            other => panic!("unknown event `{other}`"),
        }
    }

    fn admit(&mut self, name: &str, out: &mut String) {
        let Life { node, incarnation } = self.life(self.node(name));
        self.apply(EntryKind::Admit { node, incarnation }, out);
    }

    fn why(&self, service: &str, out: &mut String) {
        let planner = self.planner.as_ref().unwrap();
        let (spec, state) = planner.service(self.service(service)).unwrap();
        let names = self.names();
        let why = why(spec, state, &planner.scene(&self.membership), &names);
        writeln!(out, "{service} {}", why.summary).unwrap();
        for node in why.candidates {
            let mark = if node.eligible { '+' } else { '-' };
            writeln!(out, "  {mark} {} {}", names.of(node.node), node.reason).unwrap();
        }
        for remedy in why.remedies {
            writeln!(out, "  > {remedy}").unwrap();
        }
    }
}

/// The text of a scenario file with the answers that the planner gives now.
fn replay(text: &str) -> String {
    let mut scenario = Scenario::default();
    let (mut out, mut answer, mut skipping) = (String::new(), String::new(), false);
    for line in text.lines() {
        if line.is_empty() {
            skipping = false;
            out.push('\n');
        } else if line == "----" {
            skipping = true;
            writeln!(out, "----").unwrap();
            out.push_str(&std::mem::take(&mut answer));
        } else if !skipping {
            writeln!(out, "{line}").unwrap();
            if !line.starts_with('#') {
                scenario.run(line, &mut answer);
            }
        }
    }
    out
}

#[test]
fn every_scenario_ends_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let bless = std::env::var_os("NETGUARD_BLESS").is_some();
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "txt"));
    files.sort();
    assert!(files.len() >= 8, "scenario files are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let now = replay(&text);
        if bless {
            std::fs::write(&file, &now).unwrap();
        }
        let name = file.file_name().unwrap_or_default().display();
        for (i, (want, got)) in text.lines().zip(now.lines()).enumerate() {
            assert!(bless || want == got, "{name}:{}\n  wanted {want}\n  got    {got}", i + 1);
        }
        assert!(bless || text == now, "{name}: the answers have another length");
    }
}
