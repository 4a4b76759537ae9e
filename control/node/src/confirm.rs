//! `ng fence confirm NODE`: the operator asserts that a node is switched off.
//!
//! With three or more voters that is proof for services that wait for it (S3), and an entry like any other. Of a bare
//! pair it is what the survivor goes on with (R-FENCE), when there is no quorum: it is taken or refused at once, by
//! what this node hears and remembers.

use crate::command::CommandRefused;
use crate::node::Node;
use agreement::FenceRefused;
use base::Instant;
use wire::NodeId;

impl Node {
    pub(crate) fn confirm_off(
        &mut self,
        now: Instant,
        tag: u64,
        node: NodeId,
    ) -> Result<(), CommandRefused> {
        if !self.names.nodes().any(|n| n == node) {
            return Err(CommandRefused::UnknownNode(node));
        }
        if node == self.me.node || self.peers.heard().contains(node) {
            return Err(CommandRefused::NodeIsAlive(node));
        }
        if !self.agreement.needs_evidence(node) {
            let quorum = self.quorum();
            if !quorum.held {
                return Err(CommandRefused::NoQuorum { why: quorum.why });
            }
            if self.membership.view().member(node).is_some() {
                return Err(CommandRefused::NodeIsAlive(node));
            }
        }
        self.agreement.check_fenced_order(now, node).map_err(|refused| match refused {
            FenceRefused::Heard => CommandRefused::NodeIsAlive(node),
            FenceRefused::NoVote => CommandRefused::NoMemory(refused),
        })?;
        self.requests.await_fence(now, tag, node)?;
        self.agreement.handle_fenced_order(now, node);
        Ok(())
    }
}
