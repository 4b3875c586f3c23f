//! The disks of a domain and the files, devices and network images that each of them is made of.
//!
//! It reads libvirt's XML only; it never looks at a disk.

use leasefence_core::hash::h64;
use roxmltree::Node;

/// More images than this on one disk is taken for damage: libvirt itself stops at 200.
const LONGEST_CHAIN: usize = 256;
/// The target of what is persistent memory to the guest.
const PERSISTENT_MEMORY: &str = "nvdimm";

/// Where the bytes of an image lie.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum DiskSource {
    /// A file, by its path.
    File(String),
    /// A block device, by its path.
    Block(String),
    /// A directory of the host that the guest sees (`<filesystem>`, or a disk of type `dir`).
    Directory(String),
    /// An image that QEMU reaches over the network by itself: protocol and name.
    Network {
        /// `rbd`, `iscsi`, `nbd`, …
        protocol: String,
        /// The image's name there.
        name: String,
        /// Its servers as `host:port`, or the path of a unix socket.
        servers: Vec<String>,
    },
    /// A volume of one of libvirt's pools, not resolved to a path.
    Volume {
        /// The pool's name.
        pool: String,
        /// The volume's name.
        volume: String,
    },
    /// What is memory to the guest, and no disk: its firmware's variables, a persistent memory device. On storage of this host alone
    /// it is of no account, since every host has its own.
    Memory(Box<DiskSource>),
    /// Anything else that may be written to: in words.
    Other(String),
}

impl DiskSource {
    /// Kind and name, the way they enter the chain's hash and messages.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("file {path}"),
            Self::Block(path) => format!("block {path}"),
            Self::Directory(path) => format!("dir {path}"),
            Self::Network { protocol, name, servers } => {
                format!("network {protocol} {name} {}", servers.join(","))
            }
            Self::Volume { pool, volume } => format!("volume {pool}/{volume}"),
            Self::Memory(source) => format!("memory {}", source.describe()),
            Self::Other(what) => format!("other {what}"),
        }
    }
}

/// One image of a chain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChainLink {
    /// Where it lies.
    pub source: DiskSource,
    /// Its format (`raw`, `qcow2`, …), if the XML says.
    pub format: Option<String>,
}

/// A disk (or a shared directory, or a passed-through device that stores) of a domain.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Disk {
    /// The name by which the domain's XML calls it: `vda`, `hda`, …
    pub target: String,
    /// True when the domain cannot write to it.
    pub readonly: bool,
    /// True with `<shareable/>`: QEMU takes no image lock, so nothing but the domain lease guards it.
    pub shareable: bool,
    /// The active image first, then what it is backed by. Empty for a drive without a medium.
    pub chain: Vec<ChainLink>,
}

impl Disk {
    /// True for what holds a guest's data as memory, and no variables of its firmware.
    pub(crate) fn is_persistent_memory(&self) -> bool {
        self.target == PERSISTENT_MEMORY
    }
}

/// H64 of the disk chains: the first 8 bytes, little endian, of SHA-256 over, for each disk that the domain can write,
/// in the order of the XML: `disk TARGET`, then for each image of its chain, active one first, the line of
/// [`DiskSource::describe`] and the format (empty if not said). Each of these strings is preceded by its length in
/// bytes as a little-endian u32, so that no two chains give the same input. Read-only disks (CD-ROMs) do not
/// enter: another medium in them damages nothing. Nor does what is memory to the guest.
#[must_use]
pub fn chain_hash(disks: &[Disk]) -> u64 {
    let mut input = Vec::new();
    let is_memory =
        |disk: &Disk| matches!(disk.chain.first(), Some(ChainLink { source: DiskSource::Memory(_), .. }));
    for disk in disks.iter().filter(|disk| !disk.readonly && !is_memory(disk)) {
        feed(&mut input, &format!("disk {}", disk.target));
        for link in &disk.chain {
            feed(&mut input, &link.source.describe());
            feed(&mut input, link.format.as_deref().unwrap_or(""));
        }
    }
    h64(&[&input])
}

fn feed(input: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    input.extend_from_slice(&length.to_le_bytes());
    input.extend_from_slice(text.as_bytes());
}

/// The disks under a `<devices>` element, in its order, and what is odd about them.
pub(crate) fn disks_of(devices: Node<'_, '_>, warnings: &mut Vec<String>) -> Vec<Disk> {
    devices.children().filter_map(|device| disk_of(device, warnings)).collect()
}

fn disk_of(device: Node<'_, '_>, warnings: &mut Vec<String>) -> Option<Disk> {
    match device.tag_name().name() {
        "disk" => Some(block_disk(device, warnings)),
        "filesystem" => Some(shared_directory(device)),
        "hostdev" => passed_through(device),
        _ => None,
    }
}

/// What the domain writes as its memory: the file of its firmware's variables, and those of its persistent memory devices.
pub(crate) fn memories_of(root: Node<'_, '_>) -> Vec<Disk> {
    let path =
        |node: Node<'_, '_>| node.text().map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned);
    let memory = |target: &str, source: DiskSource, readonly| Disk {
        target: target.to_owned(),
        readonly,
        // QEMU locks the one and not the other.
        shareable: true,
        chain: vec![ChainLink { source: DiskSource::Memory(Box::new(source)), format: None }],
    };
    let nvram = child(root, "os").and_then(|os| child(os, "nvram"));
    let nvram = nvram.and_then(|nvram| source_of(nvram).or_else(|| path(nvram).map(DiskSource::File)));
    let devices = child(root, "devices").into_iter().flat_map(|devices| devices.children());
    let persistent = devices.filter(|device| {
        device.tag_name().name() == "memory"
            && matches!(device.attribute("model"), Some("nvdimm" | "virtio-pmem"))
    });
    let persistent = persistent.filter_map(|device| {
        let readonly = child(device, "target").is_some_and(|target| child(target, "readonly").is_some());
        Some(memory(
            PERSISTENT_MEMORY,
            DiskSource::File(path(child(child(device, "source")?, "path")?)?),
            readonly,
        ))
    });
    nvram.map(|source| memory("nvram", source, false)).into_iter().chain(persistent).collect()
}

fn block_disk(disk: Node<'_, '_>, warnings: &mut Vec<String>) -> Disk {
    let target = child(disk, "target").and_then(|node| node.attribute("dev")).unwrap_or("?").to_owned();
    let mut chain = Vec::new();
    let mut image = Some(disk);
    let mut format = child(disk, "driver").and_then(|node| node.attribute("type")).map(str::to_owned);
    while let Some(node) = image {
        if chain.len() >= LONGEST_CHAIN {
            warnings.push(format!(
                "disk {target}: its chain has more than {LONGEST_CHAIN} images; the rest is ignored"
            ));
            break;
        }
        let Some(source) = source_of(node) else { break };
        chain.push(ChainLink { source, format });
        chain.extend(data_file(node));
        image = child(node, "backingStore");
        format = image.and_then(format_of);
    }
    Disk {
        target,
        readonly: child(disk, "readonly").is_some() || disk.attribute("device") == Some("cdrom"),
        shareable: child(disk, "shareable").is_some(),
        chain,
    }
}

/// A qcow2 image may keep its guest's bytes in a second file.
fn data_file(image: Node<'_, '_>) -> Option<ChainLink> {
    let store = child(child(image, "source")?, "dataStore")?;
    Some(ChainLink { source: source_of(store)?, format: format_of(store) })
}

fn format_of(store: Node<'_, '_>) -> Option<String> {
    child(store, "format").and_then(|node| node.attribute("type")).map(str::to_owned)
}

/// The source of a `<disk>`, `<backingStore>` or `<dataStore>`; none for an empty drive or the chain's end.
fn source_of(image: Node<'_, '_>) -> Option<DiskSource> {
    let source = child(image, "source")?;
    let attribute = |name| source.attribute(name).map(str::to_owned);
    match image.attribute("type").unwrap_or("file") {
        "file" => attribute("file").map(DiskSource::File),
        "block" => attribute("dev").map(DiskSource::Block),
        "dir" => attribute("dir").map(DiskSource::Directory),
        "network" => Some(network_source(source)),
        "volume" => Some(DiskSource::Volume {
            pool: attribute("pool").unwrap_or_default(),
            volume: attribute("volume").unwrap_or_default(),
        }),
        other => Some(DiskSource::Other(format!("{other} {}", attributes(source)))),
    }
}

fn network_source(source: Node<'_, '_>) -> DiskSource {
    let text = |name| source.attribute(name).unwrap_or_default().to_owned();
    let servers = source.children().filter(|node| node.tag_name().name() == "host");
    DiskSource::Network {
        protocol: text("protocol"),
        name: text("name"),
        servers: servers.map(server).collect(),
    }
}

fn server(host: Node<'_, '_>) -> String {
    match (host.attribute("name"), host.attribute("port"), host.attribute("socket")) {
        (Some(name), Some(port), _) => format!("{name}:{port}"),
        (Some(name), None, _) => name.to_owned(),
        (None, _, socket) => socket.unwrap_or("?").to_owned(),
    }
}

fn shared_directory(filesystem: Node<'_, '_>) -> Disk {
    let source = child(filesystem, "source");
    let directory = source.and_then(|node| node.attribute("dir").or_else(|| node.attribute("file")));
    let other = || DiskSource::Other(format!("filesystem {}", source.map(attributes).unwrap_or_default()));
    Disk {
        target: child(filesystem, "target").and_then(|node| node.attribute("dir")).unwrap_or("?").to_owned(),
        readonly: child(filesystem, "readonly").is_some(),
        shareable: true,
        chain: vec![ChainLink {
            source: directory.map_or_else(other, |path| DiskSource::Directory(path.to_owned())),
            format: None,
        }],
    }
}

/// A SCSI device or a vhost target given to the guest as a whole. PCI and USB devices are not taken for storage.
fn passed_through(hostdev: Node<'_, '_>) -> Option<Disk> {
    let kind = hostdev.attribute("type").filter(|kind| kind.starts_with("scsi"))?;
    let source = child(hostdev, "source")?;
    let inner = source
        .children()
        .filter(Node::is_element)
        .map(|node| format!("{} {}", node.tag_name().name(), attributes(node)));
    let what = format!("{kind} {} {}", attributes(source), inner.collect::<Vec<_>>().join(" "));
    Some(Disk {
        target: format!("hostdev {kind}"),
        readonly: child(hostdev, "readonly").is_some(),
        shareable: child(hostdev, "shareable").is_some(),
        chain: vec![ChainLink { source: DiskSource::Other(what), format: None }],
    })
}

fn attributes(node: Node<'_, '_>) -> String {
    let pairs = node.attributes().map(|attribute| format!("{}={}", attribute.name(), attribute.value()));
    pairs.collect::<Vec<_>>().join(" ")
}

/// The first child element of that name, whatever its namespace.
pub(crate) fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

#[cfg(test)]
mod tests;
