//! The configuration file that the package installs names every key, with values that are accepted.

use std::path::Path;

use leasefence_config::Config;

const DEFAULT_FILE: &str = include_str!("../../../packaging/leasefence.toml");

/// The file with each `#key = …` and `#[table]` put in force; lines of prose have a blank after the `#`.
fn with_every_key() -> String {
    DEFAULT_FILE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .filter(|line| !line.starts_with("lease_ttl"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_key_of_the_installed_file_is_known_and_has_a_value_that_is_accepted() {
    Config::parse(&with_every_key(), Path::new("leasefence.toml")).expect("the file's own values");
}

#[test]
fn the_installed_file_itself_is_refused_until_somebody_names_a_cluster() {
    let error = Config::parse(DEFAULT_FILE, Path::new("leasefence.toml")).expect_err("no cluster");
    assert!(error.to_string().contains("cluster"), "{error}");
}
