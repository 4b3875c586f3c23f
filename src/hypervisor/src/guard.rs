//! How a domain is guarded, in its own metadata: the element that `leasefence ha enable` writes.
//!
//! It lies in the domain's XML, so it goes with the domain's definition to whichever host starts it next.

use leasefence_core::member::Protection;
use roxmltree::Node;

/// The XML namespace of the element; the prefix in front of it is libvirt's or the user's to choose.
pub const GUARD_NAMESPACE: &str = "urn:leasefence:domain:1";
/// The prefix that is asked of libvirt.
pub(crate) const GUARD_PREFIX: &str = "leasefence";
const ELEMENT: &str = "guard";

/// The element without its namespace declaration: libvirt adds that, and the prefix.
pub(crate) fn guard_element(protection: Protection) -> String {
    let yes_no = |flag| if flag { "yes" } else { "no" };
    format!(
        "<{ELEMENT} ha=\"{}\" priority=\"{}\" exempt=\"{}\"/>",
        yes_no(protection.ha),
        protection.priority,
        yes_no(protection.exempt)
    )
}

/// What a `<metadata>` element says. A domain that says nothing is protected but not restarted elsewhere; a value
/// that cannot be read counts as not given, and is told: a misspelt exemption must not unguard a domain.
pub(crate) fn protection_of(metadata: Option<Node<'_, '_>>, warnings: &mut Vec<String>) -> Protection {
    let Some(guard) = metadata.and_then(find_guard) else { return Protection::default() };
    Protection {
        ha: flag(guard, "ha", warnings),
        priority: priority(guard, warnings),
        exempt: flag(guard, "exempt", warnings),
    }
}

fn find_guard<'a, 'input>(metadata: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
    metadata.children().find(|node| node.has_tag_name((GUARD_NAMESPACE, ELEMENT)))
}

fn flag(guard: Node<'_, '_>, name: &str, warnings: &mut Vec<String>) -> bool {
    match guard.attribute(name) {
        Some("yes") => true,
        None | Some("no") => false,
        Some(other) => {
            warnings.push(format!("metadata: {name}=\"{other}\" is neither yes nor no and is taken for no"));
            false
        }
    }
}

fn priority(guard: Node<'_, '_>, warnings: &mut Vec<String>) -> u8 {
    let Some(text) = guard.attribute("priority") else { return 0 };
    text.parse().unwrap_or_else(|_| {
        warnings
            .push(format!("metadata: priority=\"{text}\" is not a number from 0 to 255 and is taken for 0"));
        0
    })
}
