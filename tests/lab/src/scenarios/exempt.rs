//! Two guests that their host's administrator has declared exempt: the one that all scenarios watch, which writes shared storage, and
//! one whose disk is an image on the host's own disk. Only the second is exempt: no other host can write what it does.

use super::cut_past_verdict;
use crate::cluster::{CONFIGURATION, PATIENCE};
use crate::guest;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::storage::Storage;
use leasefence_api::{Domain, Status};
use leasefence_demo::story::Kind;

/// Of the guest that is nobody else's.
const NAME: &str = "local";
const UUID: &str = "6c656173-6566-4e63-a000-000000000103";
/// On the hypervisor's own disk.
const IMAGE: &str = "/var/lib/libvirt/images/local.img";

pub(super) const SCENARIO: Scenario = Scenario::new(
    "exempt",
    "has its guest declared exempt, which writes shared storage, and one on its own disk, and is cut off until its guest runs elsewhere, then the cut heals: the first is not exempt and nothing of it lands, the second lives on",
    |stage| {
        let seen = declares(stage).and_then(|()| {
            let local = runs_local(stage)?;
            cut_past_verdict::play(stage)?;
            stage.sees_guest_ended()?;
            lives_on(stage, &local)
        });
        // Whatever came of it: the next scenario knows of no exemptions.
        let gone = takes_back(stage);
        seen.and(gone)
    },
);

/// An agent that is started again keeps its lease, and with it what it has.
fn declares(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let exempt = format!("[protect]\\nexempt = [\"{}\", \"{NAME}\"]\\n", guest::NAME);
    stage.on_victim(&format!(
        "cp {CONFIGURATION} {CONFIGURATION}.lab && printf '{exempt}' >>{CONFIGURATION} && systemctl restart leasefence-agent"
    ))?;
    let reason = match stage.cluster().storage() {
        Storage::Nfs => "nfs4, storage:/srv/disks",
        Storage::Iscsi => "a disk of an iSCSI session",
    };
    let void = |guest: &Domain| {
        let why = guest.exemption.as_deref().unwrap_or_default();
        let said = why.contains("the exemption does not count") && why.contains(reason);
        said && guest.running && guest.protected && guest.lease == "own"
    };
    says(stage, "the guest's exemption not to count", guest::NAME, void)?;
    stage.note(Kind::Mended, "its guest is declared exempt, and its status says why that does not count");
    stage.sees_nobody_fenced()
}

/// Starts the other guest, and says which process it is.
fn runs_local(stage: &mut Stage<'_>) -> Result<String, Failure> {
    let definition = guest::another(NAME, UUID, IMAGE);
    stage.on_victim(&format!(
        "set -e; dd if=/dev/zero of={IMAGE} bs=1M count=16 conv=fsync status=none; \
         cat >/root/{NAME}.xml <<'TEXT'\n{definition}TEXT\nvirsh --quiet define /root/{NAME}.xml"
    ))?;
    let start = format!("virsh --quiet domstate {NAME} | grep -qx running || virsh --quiet start {NAME}");
    stage.cluster().look("the second guest's start", PATIENCE, || stage.on_victim(&start).ok())?;
    let exempt = |local: &Domain| {
        local.running && !local.protected && local.exemption.is_none() && local.lease != "own"
    };
    says(stage, "the second guest to be exempt", NAME, exempt)?;
    stage.note(Kind::Mended, "a second guest runs on its own disk, and is exempt");
    process(stage)
}

fn lives_on(stage: &mut Stage<'_>, before: &str) -> Result<(), Failure> {
    let now = process(stage)?;
    if now != before {
        return Err(Failure::Unmet(format!("the exempt guest was process {before:?}, and is {now:?}")));
    }
    stage.on_victim(&format!("virsh --quiet domstate {NAME} | grep -qx running"))?;
    stage.note(Kind::Mended, "the exempt guest is the process that it was");
    Ok(())
}

/// The second guest's process: its number, and when it was started.
fn process(stage: &Stage<'_>) -> Result<String, Failure> {
    let file = format!("/run/libvirt/qemu/{NAME}.pid");
    stage.on_victim(&format!("pid=$(cat {file}) && echo $pid $(cut -d ' ' -f 22 /proc/$pid/stat)"))
}

fn takes_back(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.on_victim(&format!(
        "virsh --quiet destroy {NAME}; virsh --quiet undefine {NAME}; rm -f {IMAGE} /root/{NAME}.xml; \
         mv {CONFIGURATION}.lab {CONFIGURATION} && sync && systemctl restart leasefence-agent"
    ))?;
    let (cluster, victim) = (stage.cluster(), stage.victim());
    let forgotten = |status: Status| {
        let known = |domain: &Domain| domain.exemption.is_some() || (domain.name == NAME && domain.running);
        let known = status.domains.iter().any(known);
        (status.own.state == "held" && !known).then_some(())
    };
    let what = format!("{victim} to know of no exemptions, and to hold its lease");
    cluster.look(&what, PATIENCE, || forgotten(cluster.status(victim).ok()?))?;
    stage.note(Kind::Mended, "its configuration is as it was");
    Ok(())
}

/// Waits until the victim's status says this of a guest.
fn says(stage: &Stage<'_>, what: &str, guest: &str, wanted: impl Fn(&Domain) -> bool) -> Result<(), Failure> {
    let (cluster, victim) = (stage.cluster(), stage.victim());
    let said = || {
        let domains = cluster.status(victim).ok()?.domains;
        domains.iter().any(|domain| domain.name == guest && wanted(domain)).then_some(())
    };
    Ok(cluster.look(what, PATIENCE, said)?)
}
