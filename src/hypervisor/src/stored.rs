//! One file of the store: a header in a comment, then the domain's XML.

use std::fmt::Write as _;

use leasefence_core::hash::h64;
use leasefence_core::ids::DomainId;

use crate::Definition;
use crate::domain_xml::DomainXml;

const OPENING: &str = "<!-- leasefence definition 1 ";
const CLOSING: &str = " -->\n";

/// A definition with what its file's header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDefinition {
    /// The XML and the hash of its disk chains.
    pub definition: Definition,
    /// Which version: grows by one with each change.
    pub version: u32,
    /// The host that stored it; characters that a file name could not hold are replaced.
    pub host: String,
}

/// What is wrong with a file of the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it was removed while it was read")]
    Gone,
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it does not begin with a header that this version can read")]
    Header,
    #[error("its text is not what its header's checksum says: it was cut or altered")]
    Checksum,
    #[error("{0}")]
    Xml(String),
    #[error("it is of another domain, {0}")]
    OtherDomain(DomainId),
    #[error("its disk chains are not those that its header says")]
    Chain,
    #[error("its header says version {0}")]
    Version(u32),
}

impl StoredDefinition {
    /// The bytes of its file. The checksum is H64, the first 8 bytes, little endian, of SHA-256, over the XML.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from(OPENING);
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "version={} chain={:016x} xml={:016x} host={}",
            self.version,
            self.definition.chain_hash,
            checksum(&self.definition.xml),
            self.host
        );
        text.push_str(CLOSING);
        text.push_str(&self.definition.xml);
        text
    }

    /// Reads a file, and believes none of it that it cannot check.
    pub(crate) fn from_bytes(bytes: &[u8], domain: DomainId, version: u32) -> Result<Self, Damage> {
        let text = std::str::from_utf8(bytes).map_err(|_| Damage::NotText)?;
        let (header, xml) =
            text.strip_prefix(OPENING).and_then(|rest| rest.split_once(CLOSING)).ok_or(Damage::Header)?;
        let field = |name: &str| {
            header
                .split(' ')
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
                .ok_or(Damage::Header)
        };
        if hex(field("xml")?)? != checksum(xml) {
            return Err(Damage::Checksum);
        }
        let said_version = field("version")?.parse().map_err(|_| Damage::Header)?;
        if said_version != version {
            return Err(Damage::Version(said_version));
        }
        let definition = Definition::check(xml.to_owned()).map_err(|error| Damage::Xml(error.to_string()))?;
        if definition.chain_hash != hex(field("chain")?)? {
            return Err(Damage::Chain);
        }
        match DomainXml::parse(xml) {
            Ok(parsed) if parsed.id == domain => {
                Ok(Self { definition, version, host: field("host")?.to_owned() })
            }
            Ok(parsed) => Err(Damage::OtherDomain(parsed.id)),
            Err(error) => Err(Damage::Xml(error.to_string())),
        }
    }
}

fn hex(text: &str) -> Result<u64, Damage> {
    u64::from_str_radix(text, 16).map_err(|_| Damage::Header)
}

fn checksum(xml: &str) -> u64 {
    h64(&[xml.as_bytes()])
}

/// A host's name, fit for a file name and an XML comment (which may hold no two hyphens in a row).
pub(crate) fn safe_name(host: &str) -> String {
    let mut safe = String::new();
    for character in host.chars().take(64) {
        let keep = character.is_ascii_alphanumeric() || (character == '-' && !safe.ends_with('-'));
        safe.push(if keep { character } else { '_' });
    }
    if safe.is_empty() { "_".to_owned() } else { safe }
}
