//! Another agreed document, followed while the services run: drivers, gate, broom, and what `ng` shows.
//!
//! The planner takes the services first, in its place of the log; what this does afterwards is the same on every node that
//! may have a service, and nothing on the others. A driver keeps the resources that it has brought up until its service is
//! stopped, so that what is taken down is what was brought up.

use crate::agreed;
use crate::effects::Effects;
use crate::failure::Failure;
use crate::identity::Identity;
use crate::part::Unusable;
use crate::snapshot::Facts;
use crate::start;
use crate::sweeper::Sweeper;
use base::Instant;
use config::{Config, Link, Resource, Service};
use membership::View;
use node::{GateState, Node};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use wire::{NodeId, ServiceId};

/// What the followed document is, and what is needed to follow another one.
pub struct Renewal {
    identity: Identity,
    /// The document that this life began with: its links are open.
    begun: Config,
    /// Nodes that are configured no more, as they were: heard until they are members no more, because they leave in good order
    /// and say so.
    leaving: Vec<config::Node>,
    run_dir: PathBuf,
    /// The services that have drivers and gate here.
    open: BTreeMap<ServiceId, Opened>,
}

/// What a service's drivers were opened for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Opened {
    name: String,
    revision: u64,
    /// It may run on this node.
    here: bool,
}

impl Opened {
    fn of(service: &Service, identity: &Identity) -> Self {
        let here = service.nodes.contains(&identity.me.get());
        Self { name: service.name.clone(), revision: service.revision(), here }
    }
}

impl Renewal {
    /// From the document that the life began with.
    #[must_use]
    pub fn new(identity: Identity, run_dir: PathBuf) -> Self {
        let services = (0u16..).zip(&identity.config.services);
        let open = services.map(|(number, it)| (ServiceId(number), Opened::of(it, &identity)));
        let open = open.collect();
        Self { begun: identity.config.clone(), leaving: Vec::new(), identity, run_dir, open }
    }

    /// The document in force, with what is local to this node.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.identity.config
    }

    /// A document was agreed. An error is one that ends this life: a document that it cannot read is none that it may act
    /// by, and the others act by it.
    pub fn handle_document(
        &mut self,
        now: Instant,
        text: &[u8],
        node: &mut Node,
        effects: &mut Effects,
        facts: &mut Facts,
        sweeper: &mut Sweeper,
    ) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text);
        let (mut config, _) = config::parse(agreed::NAME, &text).map_err(Failure::Config)?;
        config.local = self.identity.config.local.clone();
        config.cluster.key_file = self.identity.config.cluster.key_file.clone();
        let before = std::mem::replace(&mut self.identity.config, config);
        let view = node.membership().view().nodes();
        let stays = |node: &config::Node| NodeId::new(node.id).is_some_and(|id| view.contains(id));
        self.leaving.extend(before.nodes);
        self.leaving.retain(|node| stays(node) && self.identity.config.node(node.id).is_none());
        let names = start::names(&self.identity);
        node.handle_document(now, start::specs(&self.identity), names);
        facts.follow(&self.identity);
        self.renew_services(now, node, effects, sweeper);
        self.tell(effects);
        Ok(())
    }

    /// Another view: who is configured no more, and a member no more, is heard no more.
    pub fn handle_view(&mut self, view: &View, effects: &mut Effects) {
        let before = self.leaving.len();
        self.leaving
            .retain(|node| NodeId::new(node.id).is_some_and(|id| view.member(id).is_some()));
        if self.leaving.len() != before {
            self.tell(effects);
        }
    }

    fn tell(&self, effects: &mut Effects) {
        if let Err(e) = effects.configure(&self.running()) {
            effects.journal.say(format!("the fast path does not take the configuration: {e}"));
        }
    }

    /// The document as this life can follow it: links are what they were at the start, also where the nodes' addresses on
    /// them are concerned.
    fn running(&self) -> Config {
        let mut config = self.identity.config.clone();
        config.nodes.extend(self.leaving.iter().cloned());
        let wanted = std::mem::replace(&mut config.links, self.begun.links.clone());
        for node in &mut config.nodes {
            let begun = self.begun.node(node.id);
            let on = |(place, link): (usize, &Link)| {
                let same = wanted
                    .get(place)
                    .is_some_and(|it| (it.mode, it.port) == (link.mode, link.port));
                let new = node.addresses.get(place).or(node.addresses.first());
                let old = begun.and_then(|node| node.addresses.get(place));
                if same { new } else { old.or(new) }.copied()
            };
            node.addresses = self.begun.links.iter().enumerate().filter_map(on).collect();
        }
        config
    }

    /// Drivers and gate for services that are new or have other resources.
    fn renew_services(
        &mut self,
        now: Instant,
        node: &mut Node,
        effects: &mut Effects,
        sweeper: &mut Sweeper,
    ) {
        let planned: Vec<(ServiceId, String)> = node
            .planner()
            .services()
            .filter(|(spec, _)| !node.planner().is_retired(spec.id))
            .map(|(spec, _)| (spec.id, spec.name.clone()))
            .collect();
        for (id, name) in planned {
            let Some(service) = self.identity.config.services.iter().find(|it| it.name == name)
            else {
                continue;
            };
            let opened = Opened::of(service, &self.identity);
            if self.open.get(&id) == Some(&opened) {
                continue;
            }
            let addresses: Vec<IpAddr> =
                service.resources.iter().filter_map(Resource::address).collect();
            let parts = start::parts(&self.identity, service, &self.run_dir).unwrap_or_else(|e| {
                let (name, reason) = (format!("service {}", opened.name), e.to_string());
                vec![Box::new(Unusable { name, reason })]
            });
            if let Err(e) = effects.drivers.replace(id, parts) {
                effects.journal.say(format!("service {}: {e}", opened.name));
            }
            if let Err(lack) = effects.gate.replace(id, &addresses) {
                let state = GateState { lack: Some(lack), ..GateState::default() };
                node.handle_gate(now, state);
            }
            if let Err(e) = sweeper.learn(&addresses) {
                effects.journal.say(format!(
                    "the process that cleans up does not learn of new addresses: {e}"
                ));
            }
            self.open.insert(id, opened);
        }
    }
}
