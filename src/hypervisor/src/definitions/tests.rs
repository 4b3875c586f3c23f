use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::fake::FakeHypervisor;

fn id(number: u8) -> DomainId {
    DomainId([number; 16])
}

fn definition(number: u8, disk: &str) -> Definition {
    Definition::check(FakeHypervisor::sample_xml(id(number), "d", disk)).expect("a definition")
}

fn store() -> (TempDir, Definitions) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Definitions::open(&directory.path().join("definitions"), "host-1").expect("a store");
    (directory, store)
}

fn files(store: &Definitions) -> Vec<String> {
    let mut names = store.names().expect("a listing");
    names.sort();
    names
}

#[test]
fn versions_grow_with_each_change_and_two_are_kept() {
    let (_directory, store) = store();
    let (a, b, c) = (definition(1, "/a"), definition(1, "/b"), definition(1, "/c"));
    assert_eq!(store.version(id(1)).expect("read"), 0);
    assert_eq!(store.store(id(1), &a).expect("stored"), 1);
    assert_eq!(store.store(id(1), &a).expect("stored"), 1, "the same again is no new version");
    assert_eq!(store.store(id(1), &b).expect("stored"), 2);
    assert_eq!(store.store(id(1), &c).expect("stored"), 3);
    assert_eq!(store.store(id(2), &definition(2, "/a")).expect("stored"), 1, "each domain counts for itself");
    assert_eq!(store.version(id(1)).expect("read"), 3);
    let one = id(1);
    assert_eq!(files(&store), [format!("{one}.2.xml"), format!("{one}.3.xml"), format!("{}.1.xml", id(2))]);
}

#[test]
fn only_the_wanted_chain_is_loaded_also_when_a_newer_one_is_there() {
    let (_directory, store) = store();
    let (old, new) = (definition(1, "/old"), definition(1, "/new"));
    assert_eq!(store.load(id(1), old.chain_hash).expect("read"), Loaded::Missing);
    store.store(id(1), &old).expect("stored");
    store.store(id(1), &new).expect("stored");
    let found = |hash| match store.load(id(1), hash).expect("read") {
        Loaded::Found(stored) => (stored.definition.xml, stored.version, stored.host),
        other => panic!("{other:?}"),
    };
    assert_eq!(found(old.chain_hash), (old.xml.clone(), 1, "host-1".to_owned()));
    assert_eq!(found(new.chain_hash), (new.xml.clone(), 2, "host-1".to_owned()));
    let other = store.load(id(1), 42).expect("read");
    assert_eq!(other, Loaded::HashMismatch { found: new.chain_hash, version: 2 });
}

#[test]
fn a_file_that_was_cut_or_altered_anywhere_is_damaged_and_never_loaded() {
    let (_directory, store) = store();
    let definition = definition(1, "/a");
    store.store(id(1), &definition).expect("stored");
    let path = store.path(id(1), 1);
    let whole = fs::read(&path).expect("a file");
    for position in 0..whole.len() {
        let mut altered = whole.clone();
        altered[position] ^= 1;
        for damaged in [&whole[..position], &altered[..]] {
            fs::write(&path, damaged).expect("written");
            let loaded = store.load(id(1), definition.chain_hash).expect("read");
            // The host's name is for people, and not covered.
            let name_only = matches!(&loaded, Loaded::Found(stored) if stored.definition == definition && stored.host != "host-1");
            assert!(name_only || matches!(loaded, Loaded::Damaged(_)), "at {position}: {loaded:?}");
        }
    }
}

#[test]
fn a_file_of_another_domain_or_version_is_damaged() {
    let (_directory, store) = store();
    let definition = definition(1, "/a");
    store.store(id(1), &definition).expect("stored");
    fs::copy(store.path(id(1), 1), store.path(id(2), 1)).expect("copied");
    fs::copy(store.path(id(1), 1), store.path(id(3), 9)).expect("copied");
    assert!(matches!(store.load(id(2), definition.chain_hash).expect("read"), Loaded::Damaged(_)));
    assert!(matches!(store.load(id(3), definition.chain_hash).expect("read"), Loaded::Damaged(_)));
}

#[test]
fn an_older_undamaged_version_of_the_same_chain_serves_when_the_newest_is_damaged() {
    let (_directory, store) = store();
    let first = definition(1, "/a");
    let second = Definition { xml: first.xml.replace("<vcpu>1<", "<vcpu>2<"), ..first.clone() };
    store.store(id(1), &first).expect("stored");
    store.store(id(1), &second).expect("stored");
    fs::write(store.path(id(1), 2), "rubbish").expect("written");
    assert!(
        matches!(store.load(id(1), first.chain_hash).expect("read"), Loaded::Found(found) if found.version == 1)
    );
    assert_eq!(store.store(id(1), &second).expect("stored"), 3, "a damaged version is not written over");
}

#[test]
fn files_are_private_and_an_open_directory_is_refused() {
    let (_directory, store) = store();
    store.store(id(1), &definition(1, "/a")).expect("stored");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(store.directory()), 0o700);
    assert_eq!(mode(&store.path(id(1), 1)), 0o600);
    fs::set_permissions(store.directory(), fs::Permissions::from_mode(0o750)).expect("opened");
    let refused = Definitions::open(store.directory(), "host-1").expect_err("refused");
    assert!(refused.to_string().contains("chmod 0700"), "{refused}");
}

#[test]
fn what_a_dead_process_left_half_written_is_removed_and_another_hosts_is_not() {
    let (_directory, store) = store();
    store.store(id(1), &definition(1, "/a")).expect("stored");
    let mine = store.directory().join(format!(".{}.2.host-1.tmp", id(1)));
    let other = store.directory().join(format!(".{}.2.host-2.tmp", id(1)));
    fs::write(&mine, "half").expect("written");
    fs::write(&other, "half").expect("written");
    assert_eq!(store.version(id(1)).expect("read"), 1, "a half-written file is no version");
    Definitions::open(store.directory(), "host-1").expect("a store");
    assert!(!mine.exists() && other.exists());
}

#[test]
fn a_missing_parent_is_an_error_that_names_it_and_nothing_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("not-mounted").join("definitions");
    let error = Definitions::open(&path, "host-1").expect_err("refused").to_string();
    assert!(error.contains("not-mounted") && error.contains("mounted"), "{error}");
    assert!(!directory.path().join("not-mounted").exists());
}

#[test]
fn a_host_name_cannot_leave_its_directory_or_its_comment() {
    for (name, safe) in [("a--b", "a-_b"), ("../x", "___x"), ("", "_"), ("höst", "h_st"), ("h-1", "h-1")] {
        assert_eq!(safe_name(name), safe);
    }
}
