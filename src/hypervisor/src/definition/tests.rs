use super::*;

const LIVE: &str = "<domain type='kvm' id='7'>
  <name>d</name><uuid>01010101-0101-0101-0101-010101010101</uuid><memory>1024</memory>
  <metadata><my:alias xmlns:my='urn:my' name='kept'/><seclabel2/></metadata>
  <cpu mode='custom' match='exact' check='full'><model>Skylake</model><feature policy='require' name='x'/></cpu>
  <devices>
    <disk type='file'><driver type='qcow2'/><source file='/top'/>
      <backingStore type='file'><format type='raw'/><source file='/base'/></backingStore>
      <mirror type='file' job='copy'><source file='/copy'/></mirror>
      <target dev='vda'/><alias name='virtio-disk0'/></disk>
    <interface type='network'><source network='n'/><alias name='ua-mine'/></interface>
  </devices>
  <seclabel type='dynamic' model='selinux'><label>c1,c2</label></seclabel>
  <seclabel type='static' model='dac'><label>+0:+0</label></seclabel>
</domain>";

const INACTIVE: &str = "<domain type='kvm'>
  <name>d</name><uuid>01010101-0101-0101-0101-010101010101</uuid><memory>1024</memory>
  <cpu mode='host-model'/>
  <devices><disk type='file'><source file='/base'/><target dev='vda'/></disk></devices>
</domain>";

#[test]
fn what_is_the_runs_own_is_cut_and_the_live_chain_stays() {
    let made = Definition::from_live(LIVE, Some(INACTIVE)).expect("a definition");
    for gone in ["id='7'", "virtio-disk0", "dynamic", "c1,c2", "mirror", "/copy", "Skylake"] {
        assert!(!made.xml.contains(gone), "{gone} is this run's own:\n{}", made.xml);
    }
    for kept in
        ["<domain type='kvm'>", "/top", "/base", "ua-mine", "my:alias", "+0:+0", "<cpu mode='host-model'/>"]
    {
        assert!(made.xml.contains(kept), "{kept} is lost:\n{}", made.xml);
    }
    assert_eq!(made.disks().expect("disks")[0].chain.len(), 2);
    assert_eq!(made.chain_hash, chain_hash(&DomainXml::parse(LIVE).expect("a domain").disks));
}

#[test]
fn a_transient_domain_keeps_the_cpu_of_its_run() {
    let made = Definition::from_live(LIVE, None).expect("a definition");
    assert!(made.xml.contains("Skylake"));
}

#[test]
fn a_definition_of_a_definition_is_itself() {
    let once = Definition::from_live(LIVE, Some(INACTIVE)).expect("a definition");
    let twice = Definition::from_live(&once.xml, Some(INACTIVE)).expect("a definition");
    assert_eq!(once, twice);
}

#[test]
fn a_cut_text_is_refused() {
    for end in 0..LIVE.len() - 1 {
        assert!(Definition::from_live(&LIVE[..end], None).is_err(), "cut at {end}");
    }
    assert!(Definition::from_live(LIVE, Some("<domain")).is_err());
}
