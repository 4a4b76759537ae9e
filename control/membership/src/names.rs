//! Configured names of the nodes.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;
use wire::NodeId;

/// What the nodes are called in `netguard.toml`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names(BTreeMap<NodeId, String>);

/// One name in a sentence; a node without one is `node 7`.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    id: NodeId,
    text: Option<&'a str>,
}

impl Names {
    /// Takes the configured names.
    pub fn new(names: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        Self(names.into_iter().collect())
    }
    /// The name of `node`, for a sentence.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Name<'_> {
        Name { id: node, text: self.0.get(&node).map(String::as_str) }
    }
    /// Several names with commas between them.
    pub fn list(&self, nodes: impl IntoIterator<Item = NodeId>) -> String {
        let mut text = String::new();
        for (i, node) in nodes.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{comma}{}", self.of(node)));
        }
        text
    }
    /// The configured nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text {
            Some(text) => f.write_str(text),
            None => write!(f, "node {}", self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use wire::NodeId;

    #[test]
    fn a_node_without_a_name_still_can_be_spoken_of() {
        let id = |n| NodeId::new(n).unwrap();
        let names = Names::new([(id(1), "left".into()), (id(2), "right".into())]);
        assert_eq!(names.list([id(1), id(2), id(9)]), "left, right, node 9");
        assert_eq!(names.nodes().count(), 2);
    }
}
