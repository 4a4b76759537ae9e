//! Changes to the text of a document that leave its comments and its order as they are.

use std::net::IpAddr;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

/// A node that is to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its id; the one after the highest if none is given: an id that was used says nothing of another machine then.
    pub id: Option<u8>,
    /// One address per link, in the order of the links.
    pub addresses: &'a [IpAddr],
    /// It votes and owns nothing.
    pub witness: bool,
    /// It has a vote.
    pub vote: bool,
}

/// Why a text cannot be changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// It cannot be read.
    #[error("the document is no TOML: {0}")]
    NotToml(String),
    /// Its nodes are written in a way that this does not change.
    #[error("the document does not have its nodes as [[node]] sections: change it by hand")]
    Shape,
    /// There is no such node.
    #[error("the document has no node \"{0}\"")]
    UnknownNode(String),
    /// There is one.
    #[error("the document has a node \"{0}\" already")]
    Exists(String),
    /// All numbers are used.
    #[error("the highest id is in use already: choose a free one with --id")]
    NoId,
}

fn read(text: &str) -> Result<DocumentMut, EditError> {
    text.parse()
        .map_err(|error: toml_edit::TomlError| EditError::NotToml(error.message().to_owned()))
}

fn nodes(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    document.get_mut("node").and_then(Item::as_array_of_tables_mut).ok_or(EditError::Shape)
}

fn place(nodes: &ArrayOfTables, name: &str) -> Option<usize> {
    nodes.iter().position(|node| node.get("name").and_then(Item::as_str) == Some(name))
}

/// The text with one more `[[node]]`, behind the others.
pub fn add_node(text: &str, new: &NewNode<'_>) -> Result<String, EditError> {
    let mut document = read(text)?;
    let nodes = nodes(&mut document)?;
    if place(nodes, new.name).is_some() {
        return Err(EditError::Exists(new.name.to_owned()));
    }
    let id = match new.id {
        Some(id) => id,
        None => {
            let ids = nodes.iter().filter_map(|node| node.get("id").and_then(Item::as_integer));
            let next = ids.max().unwrap_or(0).saturating_add(1);
            u8::try_from(next).ok().filter(|id| *id <= 128).ok_or(EditError::NoId)?
        }
    };
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("id", value(i64::from(id)));
    table.insert("name", value(new.name));
    let addresses = new.addresses.iter().map(|address| Value::from(address.to_string()));
    table.insert("addresses", value(addresses.collect::<toml_edit::Array>()));
    if new.witness {
        table.insert("witness", value(true));
    }
    if !new.vote {
        table.insert("vote", value(false));
    }
    nodes.push(table);
    Ok(document.to_string())
}

/// The text without a node, also where services name it.
pub fn remove_node(text: &str, name: &str) -> Result<String, EditError> {
    let mut document = read(text)?;
    let nodes = nodes(&mut document)?;
    let place = place(nodes, name).ok_or_else(|| EditError::UnknownNode(name.to_owned()))?;
    nodes.remove(place);
    let services = document.get_mut("service").and_then(Item::as_array_of_tables_mut);
    for service in services.into_iter().flat_map(ArrayOfTables::iter_mut) {
        if let Some(list) = service.get_mut("nodes").and_then(Item::as_array_mut) {
            list.retain(|node| node.as_str() != Some(name));
        }
    }
    Ok(document.to_string())
}

/// The text without `[local]`: what all nodes agree on. Each node keeps the `[local]` of its own file.
pub fn without_local(text: &str) -> Result<String, EditError> {
    let mut document = read(text)?;
    if document.remove("local").is_none() {
        return Ok(text.to_owned());
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::{EditError, NewNode, add_node, remove_node, without_local};
    use crate::parse;

    const GOOD: &str = include_str!("../testdata/good.toml");

    fn new<'a>(name: &'a str, addresses: &'a [std::net::IpAddr]) -> NewNode<'a> {
        NewNode { name, id: None, addresses, witness: false, vote: true }
    }

    #[test]
    fn a_node_is_added_behind_the_others_and_nothing_else_changes() {
        let addresses = ["10.77.1.4".parse().unwrap(), "10.77.2.4".parse().unwrap()];
        let text = add_node(GOOD, &new("n4", &addresses)).unwrap();
        let block =
            "\n[[node]]\nid = 4\nname = \"n4\"\naddresses = [\"10.77.1.4\", \"10.77.2.4\"]\n";
        let at = text.find(block).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(text.replace(block, ""), GOOD);
        assert!(
            text[..at].ends_with("name = \"n2\"\naddresses = [\"10.77.1.2\", \"10.77.2.2\"]\n"),
            "{text}"
        );
        let config = parse("t", &text).unwrap().0;
        assert_eq!(config.services[1].nodes, [1, 2, 4], "without a list all may run it");
        assert!(matches!(add_node(&text, &new("n4", &addresses)), Err(EditError::Exists(_))));

        let witness = NewNode { witness: true, id: Some(9), ..new("w", &addresses) };
        let config = parse("t", &add_node(GOOD, &witness).unwrap()).unwrap().0;
        assert!(config.node(9).unwrap().witness);
        let mute = NewNode { vote: false, ..new("m", &addresses) };
        assert!(!parse("t", &add_node(GOOD, &mute).unwrap()).unwrap().0.node(4).unwrap().vote);
    }

    #[test]
    fn a_node_that_is_removed_is_named_nowhere() {
        let text = remove_node(GOOD, "n2").unwrap();
        assert!(!text.contains("n2") && text.starts_with("# A cluster of three"), "{text}");
        assert!(text.contains("nodes = [\"n1\"]") || text.contains("nodes = [ \"n1\"]"), "{text}");
        assert_eq!(parse("t", &text).unwrap().0.nodes.len(), 2);
        assert_eq!(remove_node(GOOD, "n9"), Err(EditError::UnknownNode("n9".into())));
        assert!(
            parse("t", &remove_node(&text, "n1").unwrap()).is_err(),
            "nobody is left to run a service"
        );
    }

    #[test]
    fn what_is_local_is_not_agreed() {
        let text = without_local(GOOD).unwrap();
        assert!(!text.contains("[local]") && !text.contains("realtime_priority"), "{text}");
        let (with, without) = (parse("t", GOOD).unwrap().0, parse("t", &text).unwrap().0);
        assert_eq!(with.config_hash(), without.config_hash());
        assert_eq!(without_local(&text).unwrap(), text);
    }

    #[test]
    fn other_shapes_are_refused_with_what_to_do() {
        let inline = "node = [{ id = 1, name = \"n1\", addresses = [\"10.0.0.1\"] }]\n";
        assert_eq!(remove_node(inline, "n1"), Err(EditError::Shape));
        assert!(matches!(without_local("[local"), Err(EditError::NotToml(_))));
        let text = "[[node]]\nid = 128\nname = \"n1\"\n";
        assert_eq!(add_node(text, &new("n2", &[])), Err(EditError::NoId));
    }
}
