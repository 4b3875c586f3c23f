use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use nix::sys::stat::makedev;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::remount::own_mounts::{tool, with_mounts_of_its_own};

/// A SCSI device of a session that is gone: nobody waits for it.
const LOGGED_OUT: &str = "scsi 2064 4294967295:0:0:1\n";
/// A volume that no tool knows.
const VOLUME: &str = "mapped 64768 LVM-none none-none\n";
/// A mount, and its storage.
const NFS: &str = "40 22 0:50 / /mnt/d rw - nfs4 s:/disks rw\n";

struct Host {
    run_dir: tempfile::TempDir,
    keeper: Keeper,
}

impl Host {
    /// With what an agent before has noted, and what it waited for.
    fn with(noted: &str, owed: Option<&str>) -> io::Result<Self> {
        let run_dir = tempfile::tempdir()?;
        fs::write(run_dir.path().join(NOTED), noted)?;
        if let Some(owed) = owed {
            fs::write(run_dir.path().join(OWED), owed)?;
        }
        let keeper = new_keeper(run_dir.path());
        Ok(Self { run_dir, keeper }.has_mounted(""))
    }

    /// Nothing of this is mounted really, so nothing may be tried: the fencer shows that it is disarmed.
    fn has_mounted(mut self, mountinfo: &str) -> Self {
        self.mounts(mountinfo);
        self
    }

    fn mounts(&mut self, mountinfo: impl AsRef<[u8]>) {
        let list = self.run_dir.path().join("mountinfo");
        fs::write(&list, mountinfo).expect("it is written");
        self.keeper.mountinfo = list;
    }

    fn names(&mut self, named: &[u64]) {
        self.keeper.hear(News::Names(named.iter().copied().collect()));
    }

    /// The fencer says now that it has latched nothing.
    fn beats(&self, armed: bool) {
        let now_ns = leasefence_clock::instant().boot_ns;
        self.keeper.shown.unlatched_ns.store(now_ns, Ordering::Release);
        self.keeper.shown.armed_ns.store(if armed { now_ns } else { 0 }, Ordering::Release);
    }

    /// A beat, and a look after it.
    fn looks(&mut self) {
        self.beats(false);
        assert!(!self.keeper.look(), "a disarmed host brings nothing back");
    }

    /// The lease ends, and the fencer takes away what it names.
    fn ends(&mut self) {
        self.keeper.shown.armed_ns.store(0, Ordering::Release);
        self.keeper.hear(News::Ended);
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.run_dir.path().join(name)).unwrap_or_default()
    }

    fn waits(&self) -> bool {
        let pending = self.keeper.pending.load(Ordering::Acquire);
        assert_eq!(pending, self.run_dir.path().join(OWED).exists() || !self.keeper.owed.is_settled());
        pending
    }
}

fn new_keeper(run_dir: &Path) -> Keeper {
    let (events, _inbox) = unbounded_channel();
    Keeper::new(run_dir, Arc::default(), events)
}

/// Catches: a file system that its operator has unmounted since the last fence, since another host has it now, and that is
/// mounted again after the next one.
#[test]
fn what_was_brought_back_is_forgotten_until_it_is_named_again() -> io::Result<()> {
    let mut host = Host::with("", Some(LOGGED_OUT))?;
    assert!(host.waits());
    host.looks();
    assert!(!host.waits());
    host.ends();
    assert_eq!(host.text(OWED), "");
    Ok(())
}

/// Catches: a host that starts nothing after a fence since it waits for a volume that was removed hours before it.
#[test]
fn what_was_taken_away_before_the_end_is_noted_no_more() -> io::Result<()> {
    let mut host = Host::with(VOLUME, None)?;
    host.names(&[64768]);
    host.looks();
    assert_eq!(host.text(NOTED), VOLUME);
    host.looks();
    assert_eq!(host.text(NOTED), "");
    Ok(())
}

/// Catches: a mount of an earlier life, which another host has now, and which is mounted again after a later fence.
#[test]
fn what_nobody_names_any_more_is_noted_no_more() -> io::Result<()> {
    let mut host = Host::with(&(VOLUME.to_owned() + NFS), None)?.has_mounted(NFS);
    for _ in 0..3 {
        host.looks();
    }
    assert_eq!(host.text(NOTED), VOLUME.to_owned() + NFS, "the fencer goes by the page of the agent before");
    host.names(&[]);
    host.looks();
    host.looks();
    assert_eq!(host.text(NOTED), "");
    Ok(())
}

/// Catches: a storage that the fencer has taken away, while the agent's main loop hung and had not heard of the end, and that is
/// never brought back.
#[test]
fn what_the_fencer_may_have_taken_away_stays_noted() -> io::Result<()> {
    let mut host = Host::with(VOLUME, None)?;
    host.names(&[64768]);
    host.beats(false);
    for _ in 0..3 {
        host.keeper.look();
    }
    host.ends();
    for _ in 0..3 {
        host.looks();
        assert!(host.waits());
    }
    assert_eq!(host.text(OWED), VOLUME);
    Ok(())
}

/// Catches: a list that cannot be read for a moment, and by which everything is gone.
#[test]
fn a_look_without_the_list_of_mounts_is_none() -> io::Result<()> {
    let mut host = Host::with(NFS, Some(VOLUME))?;
    host.names(&[makedev(0, 50)]);
    host.keeper.mountinfo = host.run_dir.path().join("none");
    for _ in 0..3 {
        host.looks();
    }
    assert_eq!(host.text(NOTED), NFS);
    Ok(())
}

/// Catches: a host that waits for ever for what is there, since somebody has mounted a stick with an old name.
#[test]
fn a_look_at_a_list_with_a_name_that_is_no_utf_8_is_one() -> io::Result<()> {
    let mut host = Host::with("", None)?;
    host.mounts([&b"41 22 8:33 / /mnt/\xff rw - vfat /dev/sdc1 rw\n"[..], NFS.as_bytes()].concat());
    host.names(&[makedev(0, 50)]);
    host.looks();
    assert_eq!(host.text(NOTED), NFS);
    host.mounts(b"40 22 0:50 / /mnt/\xff rw - nfs4 s:/disks rw\n");
    host.looks();
    assert_eq!(host.text(NOTED), NFS.to_owned() + "40 22 0:50 / /mnt/\\377 rw - nfs4 s:/disks rw\n");
    Ok(())
}

/// Catches: what a life uses that begins while something is still awaited, and that the next fence takes away for good.
#[test]
fn what_is_named_while_something_is_owed_is_noted() -> io::Result<()> {
    let mut host = Host::with("", Some(VOLUME))?.has_mounted(NFS);
    host.looks();
    host.names(&[makedev(0, 50)]);
    host.looks();
    assert_eq!((host.text(NOTED).as_str(), host.text(OWED).as_str()), (NFS, VOLUME));
    host.ends();
    assert_eq!(host.text(OWED), VOLUME.to_owned() + NFS);
    Ok(())
}

/// Catches: a host that starts nothing until it is rebooted since a mount was taken off right after it had come back; and one that
/// forgets what the fencer has taken away in a second fence, of which the main loop had not heard yet.
#[test]
fn what_was_back_and_is_taken_away_is_given_up_once_it_was_not_the_fencer() -> io::Result<()> {
    let mut host = Host::with("", Some(&(VOLUME.to_owned() + NFS)))?.has_mounted(NFS);
    host.looks();
    assert_eq!(host.text(OWED), VOLUME, "the next agent does not wait for what is back");
    host.mounts("");
    host.looks();
    for _ in 0..3 {
        host.keeper.look();
    }
    host.ends();
    assert_eq!(host.text(OWED), VOLUME.to_owned() + NFS, "it may have been the fencer");

    host.mounts(NFS);
    host.looks();
    host.mounts("");
    host.looks();
    host.looks();
    host.ends();
    assert_eq!(host.text(OWED), VOLUME);
    Ok(())
}

/// Catches: an ext4 that its operator has moved to another host, unmounted while something else was still awaited, and that is
/// mounted again within seconds; and one that is mounted by a host that is disarmed, or whose lease has ended once more.
#[test]
fn what_the_operator_takes_off_is_never_mounted_again() -> io::Result<()> {
    let name = "remount::keeper::tests::what_the_operator_takes_off_is_never_mounted_again";
    with_mounts_of_its_own(name, || {
        let point = tempfile::tempdir()?;
        let line = format!("40 22 0:50 / {} rw - tmpfs disks rw,size=64k\n", point.path().display());
        let mut host = Host::with("", Some(&(line.clone() + VOLUME)))?;
        host.keeper.mountinfo = HOST_MOUNTS.into();
        let is_mounted = || fs::read_to_string(HOST_MOUNTS).map(|list| list.contains("tmpfs disks "));
        let round = |host: &mut Host| {
            host.beats(true);
            while host.keeper.look() {}
        };
        host.looks();
        assert!(!is_mounted()?, "disarmed");
        host.beats(true);
        host.ends();
        assert!(!host.keeper.look() && !is_mounted()?, "its lease has ended");
        round(&mut host);
        assert!(is_mounted()?, "{:?}", host.keeper.said);

        // systemd takes it off again at once, since it does not know the disk.
        tool("umount", &[&point.path().to_string_lossy()])?;
        round(&mut host);
        assert!(!is_mounted()?, "a moment later");
        host.keeper.owed.time_passes();
        round(&mut host);
        assert!(is_mounted()?);
        host.keeper.owed.time_passes();
        round(&mut host);

        tool("umount", &[&point.path().to_string_lossy()])?;
        for _ in 0..4 {
            round(&mut host);
            assert!(!is_mounted()?, "the operator has taken it off");
            host.keeper.owed.time_passes();
        }
        assert!(host.waits(), "there is the volume");
        assert_eq!(host.text(OWED), VOLUME);
        // Nor does the next agent, nor the next fence.
        host.keeper = new_keeper(host.run_dir.path());
        host.ends();
        round(&mut host);
        assert!(!is_mounted()?);
        Ok(())
    })
}

/// Catches: a mount by a host that has ended meanwhile, and has said that it is fenced, since the one before it took its time.
#[test]
fn nothing_more_is_brought_back_once_the_lease_has_ended() -> io::Result<()> {
    let name = "remount::keeper::tests::nothing_more_is_brought_back_once_the_lease_has_ended";
    with_mounts_of_its_own(name, || {
        let (first, second) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let line = |point: &Path| format!("40 22 0:50 / {} rw - tmpfs disks rw,size=64k\n", point.display());
        let mut host = Host::with("", Some(&(line(first.path()) + &line(second.path()))))?;
        host.keeper.mountinfo = HOST_MOUNTS.into();
        let mounted = || fs::read_to_string(HOST_MOUNTS).map(|list| list.matches("tmpfs disks ").count());
        host.beats(true);
        let is_more_due = host.keeper.look();
        assert_eq!(mounted()?, 1, "the news is heard before the next");
        assert!(is_more_due);
        host.ends();
        assert!(!host.keeper.look());
        assert_eq!(mounted()?, 1);
        host.beats(true);
        while host.keeper.look() {}
        assert_eq!(mounted()?, 2);
        Ok(())
    })
}

/// Catches: a storage that is first named while a mount of a dead server is waited for, and that the next fence takes away for good.
#[test]
fn what_is_named_while_an_attempt_lasts_is_noted() -> io::Result<()> {
    let name = "remount::keeper::tests::what_is_named_while_an_attempt_lasts_is_noted";
    with_mounts_of_its_own(name, || {
        let place = tempfile::tempdir()?;
        let (hangs, begun) = (place.path().join("hangs"), place.path().join("begun"));
        fs::write(&hangs, format!("#!/bin/sh\necho >> {}\nexec sleep 60\n", begun.display()))?;
        fs::set_permissions(&hangs, Permissions::from_mode(0o755))?;
        // What every command of ours is run by.
        let timeout = tool("sh", &["-c", "command -v timeout"])?;
        tool("mount", &["--bind", &hangs.to_string_lossy(), timeout.trim()])?;
        let mut host = Host::with("", Some(&(VOLUME.to_owned() + NFS)))?.has_mounted("");
        host.beats(true);
        assert!(host.keeper.look() && host.keeper.owed.is_trying());
        host.names(&[makedev(0, 51)]);
        let later = NFS.replace("0:50", "0:51").replace("/mnt/d", "/mnt/later");
        host.mounts(&later);
        host.keeper.owed.time_passes();
        host.beats(true);
        assert!(!host.keeper.look(), "one mount may lie within another");
        assert_eq!(host.text(NOTED), later);
        host.ends();
        assert!(host.text(OWED).ends_with(&later), "{}", host.text(OWED));
        host.beats(true);
        assert!(!host.keeper.look() && host.keeper.owed.is_trying(), "it has not ended");
        assert_eq!(fs::read_to_string(&begun)?.lines().count(), 1);
        assert!(
            host.keeper.said.iter().any(|text| text.contains("has not ended yet")),
            "{:?}",
            host.keeper.said
        );
        Ok(())
    })
}
