use tokio::sync::mpsc::unbounded_channel;

use super::*;

/// A SCSI device of a session that is gone: nobody waits for it.
const LOGGED_OUT: &str = "scsi 2064 4294967295:0:0:1\n";
/// A volume that no tool knows.
const VOLUME: &str = "mapped 64768 LVM-none none-none\n";

/// A keeper whose storages have these notes, before or after a lease's end.
fn keeper(run_dir: &Path, notes: &str, away: bool) -> io::Result<Keeper> {
    let (file, marker) = (run_dir.join(FILE), run_dir.join(MARKER));
    fs::write(&file, notes)?;
    if away {
        fs::write(&marker, "")?;
    }
    let (events, _inbox) = unbounded_channel();
    Ok(Keeper {
        file,
        marker,
        noted: read_notes(notes),
        before: read_notes(notes),
        unlatched_ns: Arc::default(),
        looked_ns: 0,
        gone: BTreeSet::new(),
        away,
        guarded: away,
        was_back: BTreeSet::new(),
        given_up: BTreeSet::new(),
        pending: Arc::new(AtomicBool::new(away)),
        events,
        said: BTreeSet::new(),
    })
}

fn is_back(keeper: &Keeper) -> bool {
    !keeper.marker.exists() && !keeper.away && !keeper.pending.load(Ordering::Acquire)
}

/// The fencer says now that it has latched nothing.
fn beats(keeper: &Keeper) {
    keeper.unlatched_ns.store(leasefence_clock::instant().boot_ns, Ordering::Release);
}

/// Catches: a file system that its operator has unmounted since the last fence, since another host has it now, and that is
/// mounted again after the next one.
#[test]
fn what_was_brought_back_is_forgotten_until_it_is_named_again() -> io::Result<()> {
    let run_dir = tempfile::tempdir()?;
    let mut keeper = keeper(run_dir.path(), LOGGED_OUT, true)?;
    keeper.noted.clear();
    keeper.bring_back();
    assert_eq!(fs::read_to_string(&keeper.file)?, "");
    assert!(is_back(&keeper));
    keeper.hear(News::Names(BTreeSet::from([2064])));
    assert_eq!(keeper.noted, BTreeMap::from([(2064, String::new())]));
    Ok(())
}

/// Catches: a host that starts nothing after a fence since it waits for a volume that was removed hours before it.
#[test]
fn what_was_taken_away_before_the_end_is_noted_no_more() -> io::Result<()> {
    let run_dir = tempfile::tempdir()?;
    let mut keeper = keeper(run_dir.path(), VOLUME, false)?;
    keeper.note();
    beats(&keeper);
    keeper.note();
    assert_eq!(keeper.noted, BTreeMap::from([(64768, String::new())]));
    assert_eq!(fs::read_to_string(&keeper.file)?, "");
    Ok(())
}

/// Catches: a storage that the fencer has taken away, while the agent's main loop hung and had not heard of the end, and that is
/// never brought back.
#[test]
fn what_the_fencer_may_have_taken_away_stays_noted() -> io::Result<()> {
    let run_dir = tempfile::tempdir()?;
    let mut keeper = keeper(run_dir.path(), VOLUME, false)?;
    beats(&keeper);
    for _ in 0..3 {
        keeper.note();
    }
    keeper.hear(News::Ended);
    beats(&keeper);
    keeper.note();
    assert_eq!(keeper.noted, read_notes(VOLUME));
    assert_eq!(fs::read_to_string(&keeper.file)?, VOLUME);
    Ok(())
}

/// Catches: a host that starts nothing until it is rebooted since a volume was removed right after it had come back.
#[test]
fn what_was_back_and_is_taken_away_is_waited_for_no_longer() -> io::Result<()> {
    let run_dir = tempfile::tempdir()?;
    let mut keeper = keeper(run_dir.path(), VOLUME, true)?;
    for _ in 0..2 {
        keeper.bring_back();
        assert!(!is_back(&keeper), "it was never back");
    }
    keeper.was_back.insert("mapped device none-none".to_owned());
    keeper.bring_back();
    keeper.bring_back();
    assert!(is_back(&keeper));
    Ok(())
}
