//! Another set of services, while they run.
//!
//! The agreed document is an entry of the log, so all nodes come here at the same place. A service is known by its name.
//! What has changed in policy and placement is in force at once. A service whose resources have changed is stopped by its
//! owner first and started as its next generation; one that is not configured any more is stopped and forgotten, once its
//! end is proven as its policy wants (S3). Its number is free again only then, and the numbers of its generations are never
//! used again in this era.

use crate::model::ServiceSpec;
use crate::planner::{Planner, Service};
use crate::state::ServiceState;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use wire::ServiceId;

/// Numbers of services: one word of the board and one slot of the gate each.
pub const SERVICES_MAX: u16 = 64;

impl Planner {
    /// The services of the configuration that the next entry applied states, in the order of the document. In an era's
    /// first one the numbers of the services are their places; later ones keep what they have, whatever numbers `specs`
    /// carry. What comes of it is decided with that entry.
    pub fn take_services(&mut self, specs: Vec<ServiceSpec>) {
        let first = self.era_begins;
        let known = core::mem::take(&mut self.services);
        let known = if first { Vec::new() } else { known };
        let mut known: Vec<Option<Service>> = known.into_iter().map(Some).collect();
        let mut used: BTreeSet<u16> = known.iter().flatten().map(|it| it.spec.id.0).collect();
        for spec in specs {
            let old =
                known.iter_mut().find(|it| it.as_ref().is_some_and(|it| it.spec.name == spec.name));
            let service = match old.and_then(Option::take) {
                Some(old) => old.become_of(spec),
                // More than there are numbers for: only while services that are gone are not proven to have ended.
                None => match (0..SERVICES_MAX).find(|id| !used.contains(id)) {
                    None => continue,
                    Some(id) => {
                        used.insert(id);
                        let mut state = ServiceState::at_era(self.era);
                        state.generation = state.generation.max(self.spent);
                        state.is_new = !first;
                        Service {
                            spec: ServiceSpec { id: ServiceId(id), ..spec },
                            state,
                            retired: false,
                        }
                    }
                },
            };
            self.services.push(service);
        }
        for mut gone in known.into_iter().flatten() {
            gone.retired = true;
            gone.state.wish = None;
            self.services.push(gone);
        }
    }

    /// Forgets what is not configured any more and has ended.
    pub(crate) fn forget_retired(&mut self) {
        let mut spent = self.spent;
        self.services.retain(|service| {
            let ended = service.retired && service.state.holder().is_none();
            if ended {
                spent = spent.max(service.state.generation);
            }
            !ended
        });
        self.spent = spent;
    }
}

impl Service {
    /// The same service with what is configured now.
    fn become_of(mut self, spec: ServiceSpec) -> Self {
        // Whoever has it has it with the old resources; a failure with those says nothing about the new ones.
        if self.spec.revision != spec.revision {
            self.state.outdated = self.state.holder().is_some();
            self.state.failures.clear();
        }
        Self { spec: ServiceSpec { id: self.spec.id, ..spec }, state: self.state, retired: false }
    }
}
