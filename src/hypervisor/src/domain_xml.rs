//! What is read from a domain's XML. It takes any text and never panics; what is missing is said in words.

use std::str::FromStr;

use leasefence_core::ids::DomainId;
use leasefence_core::member::Protection;
use roxmltree::{Document, Node, ParsingOptions};

use crate::chain::{child, disks_of, memories_of};
use crate::guard::protection_of;
use crate::{Activity, Disk, Domain};

/// Libvirt's own XML of a domain stays far below this: more is taken for damage.
pub(crate) const LONGEST_XML_BYTES: usize = 16 << 20;

/// Why a domain's XML cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum XmlError {
    /// More bytes than any domain has.
    #[error("reading a domain's XML: it has {0} bytes, more than the {LONGEST_XML_BYTES} that are read")]
    TooLong(usize),
    /// Not well-formed.
    #[error("reading a domain's XML: {0}")]
    Syntax(String),
    /// Well-formed, but not a domain.
    #[error("reading a domain's XML: the outermost element is <{0}>, not <domain>")]
    NotADomain(String),
    /// There is no uuid, or one that is none: without it nothing can be leased.
    #[error("reading a domain's XML: its <uuid> is {0}; define the domain in libvirt, which gives it one")]
    Uuid(String),
    /// There is no name.
    #[error("reading a domain's XML: it has no <name>")]
    NoName,
}

/// The parts of a domain's XML that this project uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DomainXml {
    pub(crate) id: DomainId,
    pub(crate) name: String,
    pub(crate) vcpus: u16,
    pub(crate) memory_mib: u32,
    pub(crate) disks: Vec<Disk>,
    pub(crate) protection: Protection,
    pub(crate) warnings: Vec<String>,
}

impl DomainXml {
    /// Reads the XML that libvirt gives of a domain.
    pub(crate) fn parse(xml: &str) -> Result<Self, XmlError> {
        Self::of(parse(xml)?.root_element())
    }

    /// What a listing shows of it.
    pub(crate) fn into_domain(self, activity: Activity, persistent: bool) -> Domain {
        Domain {
            id: self.id,
            name: self.name,
            activity,
            persistent,
            protection: self.protection,
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            disks: self.disks,
            warnings: self.warnings,
        }
    }

    fn of(root: Node<'_, '_>) -> Result<Self, XmlError> {
        let mut warnings = Vec::new();
        let protection = protection_of(child(root, "metadata"), &mut warnings);
        let mut disks =
            child(root, "devices").map(|devices| disks_of(devices, &mut warnings)).unwrap_or_default();
        disks.extend(memories_of(root));
        Ok(Self {
            id: uuid(root)?,
            name: text(root, "name").filter(|name| !name.is_empty()).ok_or(XmlError::NoName)?.to_owned(),
            vcpus: vcpus(root),
            memory_mib: memory_mib(root, &mut warnings),
            disks,
            protection,
            warnings,
        })
    }
}

/// Parses the text and sees that it is a domain. A DTD is refused: libvirt writes none, and entities could swell.
pub(crate) fn parse(xml: &str) -> Result<Document<'_>, XmlError> {
    if xml.len() > LONGEST_XML_BYTES {
        return Err(XmlError::TooLong(xml.len()));
    }
    let document = Document::parse_with_options(xml, ParsingOptions::default())
        .map_err(|error| XmlError::Syntax(error.to_string()))?;
    match document.root_element().tag_name().name() {
        "domain" => Ok(document),
        other => Err(XmlError::NotADomain(other.to_owned())),
    }
}

fn text<'a>(root: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(root, name).and_then(|node| node.text()).map(str::trim)
}

fn uuid(root: Node<'_, '_>) -> Result<DomainId, XmlError> {
    let text = text(root, "uuid").ok_or_else(|| XmlError::Uuid("missing".to_owned()))?;
    let id = DomainId::from_str(text).map_err(|error| XmlError::Uuid(format!("{text:?} ({error})")))?;
    // The zero uuid marks "no domain" in the page and in lease entries.
    if id == DomainId::default() {
        return Err(XmlError::Uuid("all zero".to_owned()));
    }
    Ok(id)
}

fn vcpus(root: Node<'_, '_>) -> u16 {
    let node = child(root, "vcpu");
    let number = node.and_then(|node| node.attribute("current").or_else(|| node.text()));
    number.and_then(|text| text.trim().parse().ok()).unwrap_or(1)
}

fn memory_mib(root: Node<'_, '_>, warnings: &mut Vec<String>) -> u32 {
    let bytes = child(root, "memory").and_then(|node| {
        let number: u64 = node.text()?.trim().parse().ok()?;
        number.checked_mul(unit_bytes(node.attribute("unit").unwrap_or("KiB"))?)
    });
    let Some(bytes) = bytes else {
        warnings.push("its <memory> cannot be read and is taken for 0".to_owned());
        return 0;
    };
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

/// Libvirt's units of memory ("Memory Allocation" of its domain format).
fn unit_bytes(unit: &str) -> Option<u64> {
    let bytes = match unit {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    Some(bytes)
}

#[cfg(test)]
mod tests;
