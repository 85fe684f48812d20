//! Separates look-aheads at the start of a pattern.
//!
//! `^(?!admin).*@example` matches where `^admin` does not and `^.*@example` does: three patterns without look-around,
//! which need no backtracking. So do most patterns with look-aheads, such as those that demand several kinds of
//! characters.

use std::collections::BTreeSet;

use super::emit::collect_references;
use super::syntax::{Anchor, Node, Tree};

/// The most look-aheads of one pattern.
const PARTS_MAX: usize = 8;

/// The patterns that replace a pattern with look-aheads at its start, and whether each must match. `None` for all other
/// patterns, and if the parts refer to each other.
pub(super) fn at_start(tree: &Tree) -> Option<Vec<(Tree, bool)>> {
    let Node::Concat(nodes) = &tree.node else { return None };
    let (Node::Anchor(Anchor::Start), nodes) = nodes.split_first()? else { return None };
    let looks = nodes.iter().take_while(|node| matches!(node, Node::Look { behind: false, .. })).count();
    let mut referred = BTreeSet::new();
    collect_references(&tree.node, &mut referred);
    if looks == 0 || looks > PARTS_MAX || !referred.is_empty() {
        return None;
    }
    let at_start = |nodes: Vec<Node>| {
        let nodes = [Node::Anchor(Anchor::Start)].into_iter().chain(nodes).collect();
        Tree { node: Node::Concat(nodes), slots: tree.slots.clone() }
    };
    let mut parts = Vec::new();
    for node in &nodes[..looks] {
        if let Node::Look { negative, node, .. } = node {
            parts.push((at_start(vec![(**node).clone()]), !*negative));
        }
    }
    if looks < nodes.len() {
        parts.push((at_start(nodes[looks..].to_vec()), true));
    }
    Some(parts)
}
