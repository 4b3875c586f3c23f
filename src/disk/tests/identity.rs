//! The identity file and its lock, on a real file system.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use common::{Bench, Dir};
use leasefence_core::ids::BootId;
use leasefence_disk::{DiskOptions, IdentityError, IdentityStore, MachineFacts};

fn facts(machine: &str, dmi: Option<&str>) -> MachineFacts {
    MachineFacts {
        machine_id: machine.repeat(32),
        dmi_uuid: dmi.map(str::to_owned),
        boot_id: BootId([1; 16]),
        uptime: Duration::from_secs(1),
    }
}

#[test]
fn the_identity_is_made_once_private_and_kept() {
    let dir = Dir::new("identity");
    let state = dir.0.join("state");
    let first = IdentityStore::open(&state, &facts("a", None)).unwrap();
    assert!(first.created && !first.identity.host_key.is_zero());
    let file = state.join("identity");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["identity"], "no temporary file is left");
    let identity = first.identity.clone();
    drop(first);
    let again = IdentityStore::open(&state, &facts("a", None)).unwrap();
    assert_eq!((again.created, again.identity), (false, identity));
}

#[test]
fn a_second_agent_is_refused_with_the_file_and_the_holders_pid() {
    let dir = Dir::new("second");
    let first = IdentityStore::open(&dir.0, &facts("a", None)).unwrap();
    let error = IdentityStore::open(&dir.0, &facts("a", None)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IdentityError::Locked(..)), "{text}");
    assert!(text.contains("identity") && text.contains(&format!("by pid {}", std::process::id())), "{text}");
    assert!(first.lock.still_guards());
    drop(first);
    assert!(IdentityStore::open(&dir.0, &facts("a", None)).is_ok());
}

#[test]
fn a_cloned_image_is_refused_with_what_to_do_and_the_file_stays() {
    let dir = Dir::new("cloned");
    let dmi = Some("4c4c4544-0042-3510-8052-b4c04f4a3432");
    drop(IdentityStore::open(&dir.0, &facts("a", dmi)).unwrap());
    let stored = fs::read(dir.0.join("identity")).unwrap();
    for (other, what) in [
        (facts("b", dmi), "machine-id"),
        (facts("a", Some("4c4c4544-0042-3510-8052-b4c04f4a3433")), "DMI uuid"),
        (facts("a", None), "DMI uuid"),
    ] {
        let error = IdentityStore::open(&dir.0, &other).unwrap_err().to_string();
        assert!(
            error.starts_with("cloned image:") && error.contains(what) && error.contains("remove"),
            "{error}"
        );
        assert_eq!(fs::read(dir.0.join("identity")).unwrap(), stored);
    }
}

#[test]
fn a_damaged_identity_is_never_made_anew() {
    let dir = Dir::new("damaged");
    for text in ["", "host_key = \"12\"\n", "\0\0\0\0"] {
        fs::write(dir.0.join("identity"), text).unwrap();
        let error = IdentityStore::open(&dir.0, &facts("a", None)).unwrap_err();
        assert!(matches!(error, IdentityError::Damaged(..)), "{error}");
        assert_eq!(fs::read_to_string(dir.0.join("identity")).unwrap(), text);
    }
}

#[test]
fn a_lock_on_a_removed_file_guards_nothing_and_says_so() {
    let dir = Dir::new("removed");
    let store = IdentityStore::open(&dir.0, &facts("a", None)).unwrap();
    fs::remove_file(dir.0.join("identity")).unwrap();
    assert!(!store.lock.still_guards());
}

#[test]
fn the_storage_thread_holds_the_lock_until_it_has_ended() {
    let dir = Dir::new("held");
    let store = IdentityStore::open(&dir.0, &facts("a", None)).unwrap();
    let lock = Arc::new(store.lock);
    let path = dir.file("lease", 1 << 20);
    let options = DiskOptions { read_only: false, lock: Some(Arc::clone(&lock)) };
    let bench = Bench::open_with(&path, options).unwrap();
    drop(lock);
    assert!(matches!(IdentityStore::open(&dir.0, &facts("a", None)), Err(IdentityError::Locked(..))));
    drop(bench);
    let freed = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        IdentityStore::open(&dir.0, &facts("a", None)).is_ok()
    });
    assert!(freed, "the thread ends with its last request");
}
