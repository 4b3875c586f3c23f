//! A guest that moves to another host while it runs: its lease goes with it.

use leasefence_demo::story::Kind;
use leasefence_demo::witness::Sight;

use super::cut_past_verdict;
use crate::cluster::PATIENCE;
use crate::guest;
use crate::lab::Directions;
use crate::machine::Network;
use crate::scenario::{Failure, Scenario};
use crate::stage::Stage;
use crate::switch::Effect;

pub(super) const LIVE: Scenario = Scenario::new(
    "migrate",
    "has its guest migrated live to another host: it lives on there, and that host is cut off until it runs elsewhere; nothing of it lands",
    |stage| {
        moves(stage, "")?;
        cut_past_verdict::play(stage)
    },
);

/// On its source and on its destination, what libvirt said of the guest.
const EVENTS: &str = "/run/migration-events";
/// On its source, what libvirt said to each try to change over.
const TRIES: &str = "/run/tries";

/// Of a guest whose first round lasts for some five seconds at 1 MiB/s: a page of zeros, as all of its pages are, is nine bytes to QEMU.
/// It is more than its hosts have, and takes hardly any of it.
const ROOMY: &str = "2G";

/// Its memory comes after it: QEMU is told to change over in the middle of the first round. After that round there may be nothing
/// left to be sent, and it would end without.
pub(super) const POST_COPY: Scenario = Scenario::new(
    "migrate-postcopy",
    "has its guest migrated to another host by post-copy: it lives on there, and nobody is fenced",
    |stage| {
        let guest = guest::NAME;
        overcommits(stage, true)?;
        let resize =
            format!("virsh --quiet 'setmaxmem {guest} {ROOMY} --config; setmem {guest} {ROOMY} --config'");
        stage.cluster().while_the_guest_is_off(|runner| {
            Ok(stage.lab().exec_for(runner, &resize, PATIENCE).map(drop)?)
        })?;
        stage.guest_begins_anew();
        let seen = moves_by_post_copy(stage);
        // The next scenario knows it as it was.
        let disk = stage.cluster().storage().guest_disk();
        stage.cluster().while_the_guest_is_off(|runner| stage.cluster().redefine_guest(runner, &disk))?;
        overcommits(stage, false)?;
        seen
    },
);

/// Whether hosts give a process as much memory as it asks for.
fn overcommits(stage: &Stage<'_>, yes: bool) -> Result<(), Failure> {
    let set = format!("sysctl -q vm.overcommit_memory={}", u8::from(yes));
    Ok(stage.cluster().on_each(|host| Ok(stage.lab().exec(host, &set).map(drop)?))?)
}

fn moves_by_post_copy(stage: &mut Stage<'_>) -> Result<(), Failure> {
    let (guest, source, to) = (guest::NAME, stage.victim(), stage.observers()[0]);
    for host in [source, to] {
        let listen = format!(
            "rm -f {EVENTS}; setsid timeout 300 stdbuf -oL virsh event --loop --event lifecycle >{EVENTS} 2>&1 </dev/null &"
        );
        stage.lab().exec(host, &listen)?;
    }
    // It asks again and again, until the guest has stood still. To start a virsh a try would take one to three seconds beside QEMU's
    // own work, on the one processor of the host.
    stage.on_victim(&format!(
        "setsid sh -c 'for try in $(seq 300); do [ -s {EVENTS} ] && exit; echo migrate-postcopy {guest}; sleep 0.2; done \
         | nice -n -20 virsh' >{TRIES} 2>&1 </dev/null &"
    ))?;
    moves(stage, "--postcopy --bandwidth 1")?;
    // Where QEMU has not changed over, nothing was shown. One of these tells it: libvirt may say of the source that it was suspended to
    // migrate, and all pages may have come before one was asked for.
    let asked = format!(
        "virsh domjobinfo {guest} --completed | grep 'Postcopy requests: *[1-9]'; cat {EVENTS}; grep error {TRIES} | sort | uniq -c"
    );
    let seen = stage.lab().exec(source, &asked)? + &stage.lab().exec(to, &format!("cat {EVENTS}"))?;
    if !["Post-copy", "Postcopy requests"].iter().any(|word| seen.contains(word)) {
        return Err(Failure::Unmet(format!("QEMU has not changed over: {seen}")));
    }
    Ok(())
}

pub(super) const SOURCE_CUT: Scenario = Scenario::new(
    "migrate-source-cut",
    "is cut off from its storage in the middle of its guest's migration: the guest runs on one host, and all hold their leases in the end",
    |stage| {
        let source = stage.victim();
        cut_meanwhile(stage, source)
    },
);

pub(super) const DESTINATION_CUT: Scenario = Scenario::new(
    "migrate-target-cut",
    "migrates its guest to a host that is cut off from its storage in the middle: the guest runs on one host, and all hold their leases in the end",
    |stage| {
        let to = stage.observers()[0];
        cut_meanwhile(stage, to)
    },
);

/// The guest moves, and is not harmed by it. The victim is the host to which it came.
fn moves(stage: &mut Stage<'_>, options: &str) -> Result<(), Failure> {
    let to = stage.observers()[0];
    stage.migrates(to, options)?;
    stage.note(Kind::Mended, "the guest has moved");
    stage.sees_nobody_fenced()?;
    stage.follows_guest_to(to)
}

/// Each answer takes some tenths of a second, so that a migration has a middle.
fn slow(stage: &mut Stage<'_>, host: &str) -> Result<(), Failure> {
    let text = "the network between the hosts is slow";
    stage.impair(host, Network::Cluster, Directions::Out, Effect::Delay(300), text)
}

/// Who wins is not said: a source whose disk hangs does not let go of the guest, a destination whose disk hangs may have it
/// already. What is said is that one host has it, and the disk is the judge of that.
fn cut_meanwhile(stage: &mut Stage<'_>, cut: &'static str) -> Result<(), Failure> {
    let to = stage.observers()[0];
    slow(stage, to)?;
    stage.begins_to_migrate(to)?;
    let comes_in =
        || stage.seen().iter().any(|(_, sight)| matches!(sight, Sight::Started(host) if host == to));
    stage.cluster().look("the guest's process on its way in", PATIENCE, || comes_in().then_some(()))?;
    let text = format!("the storage network of {cut} falls silent");
    stage.impair(cut, Network::Storage, Directions::Both, Effect::Drop, &text)?;
    stage.wait_ttl(2.5)?;
    stage.heal()?;
    stage.sees_all_held()?;
    stage.sees_guest_on_one_host()?;
    stage.notes_migration()
}
