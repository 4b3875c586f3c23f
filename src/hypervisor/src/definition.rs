//! The definition of a domain that another host can start: the live XML without what is this host's own.

use std::ops::Range;

use roxmltree::Node;

use crate::Disk;
use crate::chain::{chain_hash, child};
use crate::domain_xml::{DomainXml, XmlError, parse};

/// A domain's XML, ready to be started on another host, and the hash of the disk chains in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// The XML, secrets included (VNC passwords): never log it, and keep files of it private.
    pub xml: String,
    /// [`crate::chain_hash`] of its disks.
    pub chain_hash: u64,
}

impl Definition {
    /// Makes it from the XML of the run and, for a persistent domain, that of its next start.
    ///
    /// The run's XML is the base, since only it has the live disk chains: they may have grown by a snapshot or shrunk
    /// by a block job since the domain was defined. Cut out are the run's id, aliases that libvirt gave, dynamic
    /// security labels, and copies under way (`<mirror>`). The CPU comes from the configuration: the run's is
    /// expanded to just this host's model, which another host may refuse.
    ///
    /// # Errors
    /// [`XmlError`] when a text is not a domain's XML.
    pub fn from_live(live: &str, inactive: Option<&str>) -> Result<Self, XmlError> {
        let document = parse(live)?;
        let root = document.root_element();
        let mut edits = Vec::new();
        edits.extend(root.attribute_node("id").map(|id| Edit::cut(with_space_before(live, id.range()))));
        edits.extend(
            root.descendants().filter(|node| is_live_only(*node)).map(|node| Edit::cut(node.range())),
        );
        edits.extend(configured_cpu(root, inactive)?);
        Self::check(apply(live, edits))
    }

    /// Takes an XML as it is, and computes its hash.
    ///
    /// # Errors
    /// [`XmlError`] when it is not a domain's XML.
    pub fn check(xml: String) -> Result<Self, XmlError> {
        let chain_hash = chain_hash(&DomainXml::parse(&xml)?.disks);
        Ok(Self { xml, chain_hash })
    }

    /// Its disks, for the start barrier.
    ///
    /// # Errors
    /// [`XmlError`] when it is not a domain's XML.
    pub fn disks(&self) -> Result<Vec<Disk>, XmlError> {
        Ok(DomainXml::parse(&self.xml)?.disks)
    }
}

/// A piece of the text to be replaced.
struct Edit {
    range: Range<usize>,
    with: String,
}

impl Edit {
    fn cut(range: Range<usize>) -> Self {
        Self { range, with: String::new() }
    }
}

fn with_space_before(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    before.trim_end().len()..range.end
}

fn is_live_only(node: Node<'_, '_>) -> bool {
    match node.tag_name().name() {
        // Aliases that a user chose begin with "ua-" and are part of the configuration.
        "alias" => {
            is_device_part(node) && !node.attribute("name").is_some_and(|name| name.starts_with("ua-"))
        }
        "seclabel" => node.attribute("type").is_none_or(|kind| kind == "dynamic"),
        "mirror" => node.parent_element().is_some_and(|parent| parent.has_tag_name("disk")),
        _ => false,
    }
}

/// Only libvirt's own elements: those in metadata or of another namespace are the user's.
fn is_device_part(node: Node<'_, '_>) -> bool {
    node.tag_name().namespace().is_none() && node.ancestors().any(|ancestor| ancestor.has_tag_name("devices"))
}

fn configured_cpu(root: Node<'_, '_>, inactive: Option<&str>) -> Result<Option<Edit>, XmlError> {
    let (Some(inactive), Some(live_cpu)) = (inactive, child(root, "cpu")) else { return Ok(None) };
    let document = parse(inactive)?;
    let configured = child(document.root_element(), "cpu");
    let with = configured.and_then(|cpu| inactive.get(cpu.range())).unwrap_or_default();
    Ok(Some(Edit { range: live_cpu.range(), with: with.to_owned() }))
}

/// Applies edits that do not overlap, but may lie one inside another: then the outer one counts.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.range.start, std::cmp::Reverse(edit.range.end)));
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits.iter().filter(|edit| !edit.range.is_empty()) {
        if edit.range.start < done {
            continue;
        }
        result.push_str(text.get(done..edit.range.start).unwrap_or_default());
        result.push_str(&edit.with);
        done = edit.range.end;
    }
    result.push_str(text.get(done..).unwrap_or_default());
    result
}

#[cfg(test)]
mod tests;
