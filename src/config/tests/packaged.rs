//! The configuration that is packaged explains every key: as it lies there, and with every key taken out of its comment.

use std::fs;
use std::path::Path;

use leasefence_config::{Config, ConfigError, Watchdog};

fn packaged() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/leasefence.toml");
    fs::read_to_string(path).expect("it is in the repository")
}

/// Keys and tables follow the `#` at once, explanations after a space. A preset excludes a ttl.
fn with_all_keys() -> String {
    let uncommented = packaged();
    let lines = uncommented.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    lines.filter(|line| !line.starts_with("lease_ttl")).collect::<Vec<_>>().join("\n")
}

#[test]
fn as_packaged_it_asks_for_the_two_keys_that_must_be_set() {
    let error = Config::parse(&packaged(), Path::new("leasefence.toml")).expect_err("nothing is set");
    assert!(matches!(error, ConfigError::Form { .. }), "{error}");
    assert!(error.to_string().contains("missing field `cluster`"), "{error}");
}

#[test]
fn every_key_that_it_explains_exists_and_has_an_allowed_value() {
    let config = Config::parse(&with_all_keys(), Path::new("leasefence.toml")).expect("all keys are known");
    config.terms(None).expect("and safe");
}

#[test]
fn the_values_that_it_shows_are_the_defaults() {
    let shown = Config::parse(&with_all_keys(), Path::new("leasefence.toml")).expect("all keys are known");
    let least = "cluster = \"prod\"\nlease = \"/mnt/lease/prod.lease\"\n";
    let default = Config::parse(least, Path::new("leasefence.toml")).expect("complete");
    assert_eq!(shown.terms(None).expect("safe"), default.terms(None).expect("safe"));
    assert_eq!((shown.run_dir, shown.state_dir), (default.run_dir, default.state_dir));
    assert_eq!((shown.libvirt, shown.log), (default.libvirt, default.log));
    assert_eq!(shown.fence, default.fence);
    assert_eq!((shown.storage, shown.unknown_hold), (default.storage, default.unknown_hold));
    assert_eq!(shown.drill, default.drill);
    assert_eq!(shown.expire_without_hardware, default.expire_without_hardware);
    assert_eq!(shown.watchdog_seen_to_reset, default.watchdog_seen_to_reset);
}

/// A file without the key, from before there was one or written by hand, opens no device.
#[test]
fn the_installed_file_looks_for_a_watchdog_and_one_without_the_key_does_not() {
    let installed = format!("cluster = \"prod\"\nlease = \"/lease\"\n{}", packaged());
    let installed = Config::parse(&installed, Path::new("leasefence.toml")).expect("complete");
    assert_eq!(installed.watchdog, Watchdog::Auto);
    let least = "cluster = \"prod\"\nlease = \"/mnt/lease/prod.lease\"\n";
    assert_eq!(
        Config::parse(least, Path::new("leasefence.toml")).expect("complete").watchdog,
        Watchdog::None
    );
}
