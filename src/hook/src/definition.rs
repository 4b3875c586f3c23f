//! The uuid in a definition that libvirt has written itself. Anything but libvirt's own beginning is refused: what a user can
//! put into a definition (metadata, a description, a comment) comes after it, and is never looked at.

/// The uuid of libvirt's `<domain …><name>…</name><uuid>…</uuid>`, as it stands there: 36 characters. None when the definition begins
/// in any other way: then nothing is known of it.
#[must_use]
pub fn uuid_of(definition: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(definition).ok()?;
    let rest = after_tag(text.trim_start().strip_prefix("<domain")?)?;
    let (name, rest) = element(rest, "name")?;
    let (uuid, _) = element(rest, "uuid")?;
    (!name.is_empty() && is_uuid(uuid)).then_some(uuid)
}

/// What follows the start tag, whose attributes may hold anything but their own quote.
fn after_tag(attributes: &str) -> Option<&str> {
    let mut quote = None;
    if !attributes.starts_with([' ', '\n', '>']) {
        return None;
    }
    for (at, byte) in attributes.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return attributes.get(at + 1..),
            (None, b'<' | b'/') => return None,
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), byte) if byte == open => quote = None,
            _ => {}
        }
    }
    None
}

/// The text of an element that comes next, and what follows it.
fn element<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let inside = text.trim_start().strip_prefix('<')?.strip_prefix(name)?.strip_prefix('>')?;
    let (content, rest) = inside.split_once('<')?;
    Some((content, rest.strip_prefix('/')?.strip_prefix(name)?.strip_prefix('>')?))
}

fn is_uuid(text: &str) -> bool {
    let dash = |at: usize| [8, 13, 18, 23].contains(&at);
    let fits = |(at, byte): (usize, u8)| if dash(at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "6c656173-6566-4e63-a000-000000000003";
    const OTHER: &str = "ffffffff-6566-4e63-a000-000000000003";

    #[test]
    fn libvirts_own_beginning_is_read() {
        for tag in ["<domain type='qemu'>", "<domain type='kvm' id='7' xmlns:a=\"http://x/>'\">", "<domain>"]
        {
            let text = format!(
                "{tag}\n  <name>web-1</name>\n  <uuid>{UUID}</uuid>\n  <memory unit='KiB'>1</memory></domain>"
            );
            assert_eq!(uuid_of(text.as_bytes()), Some(UUID), "{tag}");
        }
    }

    /// Catches: a protected domain that names an exempt one's uuid where a user may write, and starts as that one.
    #[test]
    fn a_uuid_that_a_user_has_put_elsewhere_is_never_taken() {
        let crafted = [
            format!(
                "<domain><metadata><uuid>{OTHER}</uuid></metadata><name>a</name><uuid>{UUID}</uuid></domain>"
            ),
            format!("<domain><!-- <uuid>{OTHER}</uuid> --><name>a</name><uuid>{UUID}</uuid></domain>"),
            format!("<domain><name>a</name><title><uuid>{OTHER}</uuid></title><uuid>{UUID}</uuid></domain>"),
            format!("<domain><name><uuid>{OTHER}</uuid></name><uuid>{UUID}</uuid></domain>"),
            format!("<domain><name>a</name><uuid>{OTHER}<!-- --></uuid></domain>"),
            format!("<domain><name>a</name><![CDATA[<uuid>{OTHER}</uuid>]]><uuid>{UUID}</uuid></domain>"),
            format!("<domain a='x' <name>a</name><uuid>{OTHER}</uuid></domain>"),
            format!("<domainsnapshot><name>a</name><uuid>{OTHER}</uuid></domainsnapshot>"),
            format!("<domain/><name>a</name><uuid>{OTHER}</uuid>"),
            format!("<?xml version='1.0'?><domain><name>a</name><uuid>{OTHER}</uuid></domain>"),
            format!("<domain><name></name><uuid>{OTHER}</uuid></domain>"),
        ];
        for text in crafted {
            assert_ne!(uuid_of(text.as_bytes()), Some(OTHER), "{text}");
        }
    }

    #[test]
    fn what_is_no_definition_has_no_uuid() {
        let no = ["", "<", "<domain", "<domain>", "<domain><name>", "<domain><name>a</name><uuid>1</uuid>"];
        for text in no {
            assert_eq!(uuid_of(text.as_bytes()), None, "{text}");
        }
        assert_eq!(uuid_of(b"<domain><name>\xff</name>"), None);
        let mut long = format!("<domain><name>a</name><uuid>{UUID}</uuid>").into_bytes();
        long.truncate(long.len() - 1);
        assert_eq!(uuid_of(&long), None);
    }
}
