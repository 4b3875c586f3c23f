use super::*;

const SAMPLE: &str = "<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web &amp; mail</name>
  <uuid>6b0e7d2c-5b6f-4f2e-9c55-1f1d2c3b4a59</uuid>
  <metadata>
    <leasefence:guard xmlns:leasefence='urn:leasefence:domain:1' ha='yes' priority='200'/>
    <other:guard xmlns:other='urn:other' ha='no' exempt='yes'/>
  </metadata>
  <memory unit='KiB'>1048577</memory>
  <vcpu placement='static' current='2'>8</vcpu>
  <devices><disk type='file'><source file='/nfs/a'/><target dev='vda'/></disk></devices>
  <qemu:commandline><qemu:arg value='-S'/></qemu:commandline>
</domain>";

fn protection(metadata: &str) -> (Protection, Vec<String>) {
    let xml = format!(
        "<domain><name>d</name><uuid>01010101-0101-0101-0101-010101010101</uuid><memory>1</memory>\
         <metadata>{metadata}</metadata></domain>"
    );
    let parsed = DomainXml::parse(&xml).expect("a domain");
    (parsed.protection, parsed.warnings)
}

#[test]
fn what_libvirt_writes_is_read() {
    let parsed = DomainXml::parse(SAMPLE).expect("a domain");
    assert_eq!(parsed.name, "web & mail");
    assert_eq!(parsed.id.to_string(), "6b0e7d2c-5b6f-4f2e-9c55-1f1d2c3b4a59");
    assert_eq!((parsed.vcpus, parsed.memory_mib), (2, 1025));
    assert_eq!(parsed.protection, Protection { ha: true, priority: 200, exempt: false });
    assert_eq!(parsed.disks.len(), 1);
    assert_eq!(parsed.warnings, Vec::<String>::new());
}

#[test]
fn the_guard_is_found_by_its_namespace_whatever_the_prefix() {
    let wanted = Protection { ha: true, priority: 3, exempt: true };
    let attributes = "ha='yes' priority='3' exempt='yes'";
    let prefixed = format!("<x:guard xmlns:x='{GUARD}' {attributes}/>");
    let unprefixed = format!("<guard xmlns='{GUARD}' {attributes}/>");
    assert_eq!(protection(&prefixed), (wanted, Vec::new()));
    assert_eq!(protection(&unprefixed), (wanted, Vec::new()));
    let strangers = "<guard ha='yes'/><x:guard xmlns:x='urn:leasefence:domain:2' ha='yes'/>";
    assert_eq!(protection(strangers), (Protection::default(), Vec::new()));
    assert_eq!(protection(""), (Protection::default(), Vec::new()));
}

#[test]
fn a_misspelt_exemption_does_not_unguard_a_domain() {
    let (protection, warnings) =
        protection(&format!("<x:guard xmlns:x='{GUARD}' ha='YES' priority='256' exempt='true'/>"));
    assert_eq!(protection, Protection::default());
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn what_is_written_is_read_back() {
    for wanted in [
        Protection { ha: true, priority: 255, exempt: false },
        Protection { ha: false, priority: 0, exempt: true },
    ] {
        let element =
            crate::guard::guard_element(wanted).replacen("<guard", &format!("<guard xmlns='{GUARD}'"), 1);
        assert_eq!(protection(&element), (wanted, Vec::new()));
    }
}

const GUARD: &str = crate::GUARD_NAMESPACE;

#[test]
fn a_domain_without_a_uuid_or_a_name_is_refused() {
    let without = |cut: &str| DomainXml::parse(&SAMPLE.replace(cut, ""));
    assert!(matches!(without("<uuid>6b0e7d2c-5b6f-4f2e-9c55-1f1d2c3b4a59</uuid>"), Err(XmlError::Uuid(_))));
    assert!(matches!(without("2c-5b6f"), Err(XmlError::Uuid(_))));
    assert!(matches!(without("web &amp; mail"), Err(XmlError::NoName)));
    let zero = SAMPLE.replace("6b0e7d2c-5b6f-4f2e-9c55-1f1d2c3b4a59", "00000000-0000-0000-0000-000000000000");
    assert!(matches!(DomainXml::parse(&zero), Err(XmlError::Uuid(_))), "zero means none in a lease entry");
}

#[test]
fn what_is_no_domain_is_refused() {
    assert_eq!(DomainXml::parse("<network/>"), Err(XmlError::NotADomain("network".to_owned())));
    assert!(matches!(DomainXml::parse(""), Err(XmlError::Syntax(_))));
    assert!(matches!(DomainXml::parse("<domain>"), Err(XmlError::Syntax(_))));
    let bomb = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><domain><name>&b;</name></domain>";
    assert!(matches!(DomainXml::parse(bomb), Err(XmlError::Syntax(_))));
    let long = format!("<domain>{}</domain>", " ".repeat(LONGEST_XML_BYTES));
    assert!(matches!(DomainXml::parse(&long), Err(XmlError::TooLong(_))));
}

#[test]
fn a_huge_domain_is_read_and_a_deep_one_does_not_overflow_the_stack() {
    let disks: String =
        (0..20_000).map(|n| format!("<disk><source file='/{n}'/><target dev='v{n}'/></disk>")).collect();
    let huge = SAMPLE.replace("<devices>", &format!("<devices>{disks}"));
    assert_eq!(DomainXml::parse(&huge).expect("a domain").disks.len(), 20_001);
    let depth = 100_000;
    let deep =
        SAMPLE.replace("<devices>", &format!("<devices>{}{}", "<x>".repeat(depth), "</x>".repeat(depth)));
    // Refused or read: either will do.
    drop(DomainXml::parse(&deep));
}

#[test]
fn no_damaged_text_makes_it_panic() {
    let bytes = SAMPLE.as_bytes();
    for cut in 0..bytes.len() {
        drop(DomainXml::parse(&String::from_utf8_lossy(&bytes[..cut])));
        for byte in [b'<', b'>', b'\'', b'&', b'/', 0, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[cut] = byte;
            drop(DomainXml::parse(&String::from_utf8_lossy(&damaged)));
        }
    }
}

#[test]
fn libvirts_units_of_memory_are_known() {
    for (text, mib) in [
        ("<memory>2048</memory>", 2),
        ("<memory unit='b'>1</memory>", 1),
        ("<memory unit='MB'>1</memory>", 1),
        ("<memory unit='G'>3</memory>", 3072),
        ("<memory unit='TiB'>1</memory>", 1 << 20),
        ("<memory unit='TiB'>16777216</memory>", 0),
        ("<memory unit='parsec'>1</memory>", 0),
        ("<memory>many</memory>", 0),
    ] {
        let xml = SAMPLE.replace("<memory unit='KiB'>1048577</memory>", text);
        let parsed = DomainXml::parse(&xml).expect("a domain");
        assert_eq!(parsed.memory_mib, mib, "{text}");
        assert_eq!(parsed.warnings.is_empty(), mib != 0, "what cannot be read is said: {text}");
    }
}
