//! Everything about the links: looked at, asked over and listened to, all of them at once.

use crate::finding::{Area, Check, Finding};
use crate::groups;
use crate::hearing::{self, Ear, Known};
use crate::interfaces::{self, LinkFacts};
use crate::path::{self, Fate, PathFacts, Route};
use base::Duration;
use config::{Config, Key, Mode, Node};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::thread::{Scope, ScopedJoinHandle};
use wire::{ClusterId, LinkId, Seal};

const HEARING: Check = Check {
    area: Area::Links,
    name: "peer-heard",
    why: "a check that could not be made says nothing about the link",
};
const PATHS: Check = Check { name: "peer-reached", ..HEARING };
const INTERFACES: Check = Check { name: "interface", ..HEARING };

/// What the checks of the links stand on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) config: &'a Config,
    pub(crate) me: &'a Node,
    pub(crate) key: Option<&'a Key>,
    /// Of the daemons, if they run here.
    pub(crate) status: Option<&'a api::Status>,
    pub(crate) listen: Duration,
}

impl Ground<'_> {
    /// What frames are opened with.
    fn seal(&self) -> Option<Seal> {
        self.key.map(|key| Seal {
            cluster: ClusterId(self.config.cluster_id()),
            key: key.0,
            key_id: config::KEY_ID,
            config_hash: self.config.frame_hash(),
            level: 0,
        })
    }

    /// How to ask and to hear on one link; nothing where there is no interface that is up.
    fn plan(&self, number: usize, facts: &LinkFacts) -> Option<(Route, Ear)> {
        let link = self.config.links.get(number)?;
        let under = facts.under.as_ref().filter(|under| under.flags.up)?;
        let peers = self.config.nodes.iter().filter(|node| node.id != self.me.id);
        let (ids, peers): (Vec<u8>, Vec<(String, IpAddr)>) = peers
            .filter_map(|node| Some((node.id, (node.name.clone(), *node.addresses.get(number)?))))
            .unzip();
        let route = Route {
            link: link.name.clone(),
            interface: under.name.clone(),
            own: facts.address,
            peers: peers.clone(),
        };
        let ear = Ear {
            link: LinkId(u8::try_from(number).ok()?),
            name: link.name.clone(),
            mode: link.mode,
            frames: link.frames,
            port: link.port,
            interface: under.name.clone(),
            own: facts.address,
            me: self.me.id,
            peers,
            ids,
            seal: self.seal(),
        };
        Some((route, ear))
    }

    fn known(&self, peer: &str, reached: Option<bool>) -> Known {
        let members = self.status.map(|status| status.members.as_slice()).unwrap_or_default();
        let state = members.iter().find(|it| it.name == peer).map(|it| it.state);
        Known { reached, state }
    }
}

type Running<'scope, T> = ScopedJoinHandle<'scope, io::Result<T>>;

/// What is being measured, each in a thread of its own.
pub(crate) struct Links<'scope, 'a> {
    ground: Ground<'a>,
    found: Vec<Finding>,
    paths: Vec<Running<'scope, Vec<PathFacts>>>,
    ears: Vec<Running<'scope, hearing::Facts>>,
}

impl<'scope, 'a> Links<'scope, 'a> {
    /// Looks at the interfaces and begins to ask and to listen.
    pub(crate) fn start(scope: &'scope Scope<'scope, '_>, ground: &Ground<'a>) -> Self {
        let Ground { config, me, status, listen, .. } = *ground;
        let mut this =
            Self { ground: *ground, found: Vec::new(), paths: Vec::new(), ears: Vec::new() };
        let facts = interfaces::sample(config, me).unwrap_or_else(|why| {
            this.found.push(INTERFACES.unchecked(why, "run as root"));
            Vec::new()
        });
        this.found.extend(interfaces::judge(&facts, config.nodes.len()));
        for (number, facts) in facts.iter().enumerate() {
            let Some((route, ear)) = ground.plan(number, facts) else { continue };
            // Before the ear joins the group too.
            if let Mode::Multicast { group } = ear.mode {
                let facts = groups::sample(&ear.name, group, &ear.interface, status.is_some());
                this.found.extend(groups::judge(&facts));
            }
            this.paths.push(scope.spawn(move || path::sample(&route)));
            this.ears.push(scope.spawn(move || hearing::sample(&ear, listen)));
        }
        let services = interfaces::sample_services(config, me);
        this.found.extend(interfaces::judge_services(&services));
        this
    }

    /// Waits for all and has it judged.
    pub(crate) fn finish(self) -> Vec<Finding> {
        let (ground, mut found) = (self.ground, self.found);
        let mut reached = BTreeMap::new();
        for thread in self.paths {
            match joined(thread) {
                Ok(facts) => {
                    found.extend(path::judge(&facts));
                    reached.extend(
                        facts
                            .into_iter()
                            .map(|it| ((it.link, it.peer), it.small == Fate::Answered)),
                    );
                }
                Err(why) => found.push(PATHS.unchecked(why, "run as root (CAP_NET_RAW)")),
            }
        }
        for thread in self.ears {
            match joined(thread) {
                Ok(facts) => found.extend(hearing::judge(&facts, |peer| {
                    let place = (facts.link.clone(), peer.to_owned());
                    ground.known(peer, reached.get(&place).copied())
                })),
                Err(why) => found.push(HEARING.unchecked(why, "run as root (CAP_NET_RAW)")),
            }
        }
        found
    }
}

fn joined<T>(thread: Running<'_, T>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that measured died")))
}
