//! Tests of the terms, one per sentence.

use super::*;
use crate::fencing::StorageKind;
use crate::format::WatchdogClass;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn at(ms: u64) -> Instant {
    Instant::default().plus(Duration::from_millis(ms))
}

fn default_terms() -> Terms {
    Preset::Default.timing().terms
}

/// `cargo test -p leasefence-core every_preset -- --nocapture` prints the table of the documentation.
#[test]
fn every_presets_takeover_stall_survived_ratio_and_dead_time() {
    println!("preset         ttl     budget drain  interval verdict   takeover stall  ratio dead");
    let rows = Preset::ALL.map(|preset| {
        let terms = preset.timing().terms;
        println!(
            "{preset:<14} {:<7.1} {:<6.1} {:<6.1} {:<8.2} {:<9.3} {:<8.3} {:<6.1} {:<5.2} {:.1}",
            terms.lease_ttl.as_secs_f64(),
            terms.fence_budget.as_secs_f64(),
            terms.write_drain.as_secs_f64(),
            terms.renewal_interval.as_secs_f64(),
            terms.verdict_after().as_secs_f64(),
            terms.takeover().as_secs_f64(),
            terms.stall_survived().as_secs_f64(),
            terms.ratio(),
            terms.dead_time().as_secs_f64(),
        );
        (terms.takeover(), terms.stall_survived(), format!("{:.2}", terms.ratio()))
    });
    assert_eq!(rows[0], (ms(11_512), ms(7_500), "1.53".to_owned()));
    assert_eq!(rows[1], (ms(36_536), ms(29_000), "1.26".to_owned()));
    assert_eq!(rows[2], (ms(129_629), ms(119_000), "1.09".to_owned()));
    assert_eq!(default_terms().dead_time(), ms(7_536));
}

#[test]
fn one_number_gives_all_the_others_and_the_presets_are_that_rule_at_8_30_and_120_seconds() {
    for (ttl, budget, drain, interval, watchdog) in [
        (8_000, 2_000, 1_000, 500, 3_000),
        (12_000, 3_500, 1_000, 750, 5_000),
        (30_000, 3_500, 2_000, 1_000, 5_000),
        (120_000, 3_500, 5_000, 1_000, 5_000),
    ] {
        let timing = Timing::derive(ms(ttl));
        let terms = timing.terms;
        assert_eq!(terms.fence_budget, ms(budget), "budget of {ttl} ms");
        assert_eq!(terms.write_drain, ms(drain), "drain of {ttl} ms");
        assert_eq!(terms.renewal_interval, ms(interval), "interval of {ttl} ms");
        assert_eq!(terms.scan_interval, ms(interval), "interval of {ttl} ms");
        assert_eq!(timing.watchdog_timeout, ms(watchdog), "watchdog of {ttl} ms");
    }
    assert_eq!(Timing::derive(ms(12_000)).terms.verdict_after(), ms(16_517));
}

#[test]
fn verdict_after_is_widened_by_both_drifts_and_rounded_up_to_one_millisecond() {
    let terms = Terms { drift_ppm: 0, ..default_terms() };
    assert_eq!(terms.verdict_after(), ms(35_500));
    let one_ns = Terms { lease_ttl: terms.lease_ttl + Duration::from_nanos(1), ..terms };
    assert_eq!(one_ns.verdict_after(), ms(35_501), "never a tick short");
    // 35.5 s x 1.0005 / 0.9995 = 35.535517… s
    assert_eq!(default_terms().verdict_after(), ms(35_536));
    assert_eq!(default_terms().verdict_after_with_survival(ms(60_000)), ms(95_596));
}

#[test]
fn the_cap_after_fencing_counts_the_watchdog_where_it_is_longer_than_the_budget() {
    let terms = default_terms();
    assert_eq!(terms.cap_after_fencing(), ms(5_506), "(3.5 + 2) s, widened");
    let watched = Terms { watchdog_actual: ms(6_000), ..terms };
    assert_eq!(watched.cap_after_fencing(), ms(8_509), "(6 + 0.5 + 2) s, widened");
}

#[test]
fn a_pet_is_allowed_only_if_the_reset_after_it_comes_by_the_leases_end_and_budget() {
    let terms = Terms { watchdog_actual: ms(6_000), ..default_terms() };
    let lease_end = HolderDeadline(at(100_000));
    // last pet at end + budget - watchdog - reset latency = 100 + 3.5 - 6 - 0.5
    assert!(terms.may_pet(at(97_000), lease_end, None));
    assert!(!terms.may_pet(at(97_001), lease_end, None));
    let raw_is_faster = Instant { raw_ns: at(97_001).raw_ns, ..at(90_000) };
    assert!(!terms.may_pet(raw_is_faster, lease_end, None), "the faster clock counts");
    for exemption in [PetExemption::Clean, PetExemption::NeverArmed, PetExemption::Disarmed] {
        assert!(terms.may_pet(at(500_000), lease_end, Some(exemption)));
    }
}

fn refusals(setting: &Setting) -> String {
    setting.check().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn with_watchdog(preset: Preset, granule: Duration, storage: StorageKind) -> Setting {
    let timing = preset.timing();
    let terms = timing.terms_with_watchdog(timing.watchdog_timeout, granule);
    Setting { granule, ..Setting::assumed(terms, WatchdogClass::Hardware, storage) }
}

#[test]
fn fast_is_refused_on_a_watchdog_with_steps_of_one_second_and_on_iscsi() {
    use StorageKind::{Iscsi, Nfs};
    let coarse = refusals(&with_watchdog(Preset::Fast, ms(1_000), Nfs));
    assert!(coarse.contains("fence_budget is broken: 3s") && coarse.contains("> 2s"), "{coarse}");
    assert_eq!(refusals(&with_watchdog(Preset::Fast, Duration::ZERO, Nfs)), "");
    assert!(refusals(&with_watchdog(Preset::Fast, Duration::ZERO, Iscsi)).contains("2.25s"));
    for storage in [Nfs, Iscsi, StorageKind::OneKernel] {
        for preset in [Preset::Default, Preset::NasFailover] {
            assert_eq!(refusals(&with_watchdog(preset, ms(1_000), storage)), "", "{preset} {storage:?}");
        }
    }
}

#[test]
fn the_budgets_bound_is_not_for_class_none() {
    let terms = Preset::Fast.timing().terms;
    assert_eq!(refusals(&Setting::assumed(terms, WatchdogClass::None, StorageKind::Iscsi)), "");
}

/// Or it would reset itself before what it does for its proof can have ended.
#[test]
fn a_host_that_resets_itself_leaves_kill_and_quiescence_their_bounds_whatever_its_class() {
    let setting = |preset: Preset, storage| Setting {
        reset_on: true,
        ..Setting::assumed(preset.timing().terms, WatchdogClass::None, storage)
    };
    assert_eq!(refusals(&setting(Preset::Fast, StorageKind::Nfs)), "");
    let refused = refusals(&setting(Preset::Fast, StorageKind::Iscsi));
    assert!(
        refused.contains("2.25s") && refused.contains("> 2s") && refused.contains("fence.reset"),
        "{refused}"
    );
    assert_eq!(refusals(&setting(Preset::Default, StorageKind::Iscsi)), "");
}

#[test]
fn each_refusal_names_its_rule_and_both_sides() {
    let good = Setting::assumed(default_terms(), WatchdogClass::None, StorageKind::Nfs);
    let terms = default_terms();
    let with = |terms: Terms| Setting { terms, ..good };
    let header = |minimum_write_drain, longest_verdict_after| Setting {
        header: Some(HeaderLimits { minimum_write_drain, longest_verdict_after }),
        ..good
    };
    let cases: [(Setting, &[&str]); 13] = [
        (
            with(Terms { renewal_interval: ms(7_501), ..terms }),
            &["lease_ttl >= 4 x renewal_interval", "30s < 30.004s"],
        ),
        (with(Terms { scan_interval: ms(6_501), ..terms }), &["scan_interval + p99.9(io)", "7.501s > 7.5s"]),
        (
            with(Terms { lease_ttl: ms(996), renewal_interval: ms(100), ..terms }),
            &["pet_interval", "250ms > 249ms"],
        ),
        (
            with(Terms { write_drain: Duration::from_micros(1_500), ..terms }),
            &["write_drain = 1.5ms", "whole milliseconds"],
        ),
        (with(Terms { fence_budget: Duration::ZERO, ..terms }), &["fence_budget = 0ns"]),
        (with(Terms { drift_ppm: 0, ..terms }), &["clock_drift_ppm = 0"]),
        (with(Terms { watchdog_actual: ms(10), ..terms }), &["class is none", "10ms"]),
        (Setting { unknown_hold: ms(1_999), ..good }, &["unknown_hold >= write_drain", "1.999s < 2s"]),
        (Setting { mount_gives_up: Some(ms(180_000)), ..good }, &["timeo x (retrans + 1)", "60s < 180s"]),
        (header(ms(2_001), ms(900_000)), &["write_drain >= the lease file's minimum", "2s < 2.001s"]),
        (header(ms(1), ms(35_535)), &["verdict_after <= the lease file's longest", "35.536s > 35.535s"]),
        (
            Setting {
                watchdog: WatchdogClass::Hardware,
                ..with(Terms { watchdog_actual: ms(32_000), ..terms })
            },
            &["watchdog_actual + reset_latency", "34.75s", "30s + 3.5s"],
        ),
        (Setting { watchdog: WatchdogClass::Soft, ..good }, &["the watchdog holds for 0ns"]),
    ];
    assert_eq!(refusals(&good), "");
    for (setting, words) in cases {
        let text = refusals(&setting);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in:\n{text}");
    }
}

#[test]
fn the_survival_maximum_counts_against_the_longest_verdict() {
    let limits = HeaderLimits { minimum_write_drain: ms(1), longest_verdict_after: ms(900_000) };
    let setting = Setting {
        header: Some(limits),
        survival: ms(900_000),
        ..Setting::assumed(default_terms(), WatchdogClass::None, StorageKind::Nfs)
    };
    assert!(refusals(&setting).contains("the lease file's longest"));
}

#[test]
fn a_watchdogs_actual_time_is_what_the_driver_returned_plus_its_step_rounded_up() {
    let timing = Preset::Default.timing();
    assert_eq!(timing.terms_with_watchdog(ms(5_000), ms(1_000)).watchdog_actual, ms(6_000));
    assert_eq!(timing.terms_with_watchdog(ms(5_001), Duration::ZERO).watchdog_actual, ms(5_010));
}

fn promise() -> Promise {
    Promise {
        terms: Terms { watchdog_actual: ms(6_000), ..default_terms() },
        watchdog: WatchdogClass::Virtual,
        reset_on: false,
        expire_without_hardware: false,
    }
}

#[test]
fn a_smaller_number_a_stronger_class_and_more_permission_bring_a_verdict_sooner() {
    let old = promise();
    let new = Promise {
        terms: Terms {
            lease_ttl: ms(29_999),
            fence_budget: ms(3_499),
            write_drain: ms(1_999),
            renewal_interval: ms(500),
            scan_interval: ms(500),
            drift_ppm: 499,
            watchdog_actual: old.terms.watchdog_actual,
        },
        watchdog: WatchdogClass::Hardware,
        reset_on: true,
        expire_without_hardware: true,
    };
    let change = old.change_to(&new);
    assert_eq!((change.sooner.len(), change.later.len()), (7, 0), "{change:?}");
    let back = new.change_to(&old);
    assert_eq!((back.sooner.len(), back.later.len()), (0, 7), "{back:?}");
    assert_eq!((new.later_of(&old), old.later_of(&new)), (old, old));
    assert_eq!(old.sooner_of(&new).change_to(&new), Change::default());
}

#[test]
fn an_interval_is_no_term() {
    let old = promise();
    let new =
        Promise { terms: Terms { renewal_interval: ms(100), scan_interval: ms(2_000), ..old.terms }, ..old };
    assert!(old.change_to(&new).is_empty());
}

#[test]
fn while_a_change_is_under_way_observers_take_the_later_and_the_holder_the_sooner_of_each_term() {
    let old = promise();
    let mixed = Promise {
        terms: Terms { lease_ttl: ms(60_000), write_drain: ms(1_000), ..old.terms },
        watchdog: WatchdogClass::Soft,
        ..old
    };
    let change = old.change_to(&mixed);
    assert_eq!((change.sooner, change.later), (vec!["write_drain"], vec!["lease_ttl", "watchdog class"]));
    let (later, sooner) = (old.later_of(&mixed), old.sooner_of(&mixed));
    assert_eq!((later.terms.lease_ttl, later.terms.write_drain), (ms(60_000), ms(2_000)));
    assert_eq!((sooner.terms.lease_ttl, sooner.terms.write_drain), (ms(30_000), ms(1_000)));
    assert_eq!((later.watchdog, sooner.watchdog), (WatchdogClass::Soft, WatchdogClass::Virtual));
}

/// A device that was opened under a running lease: its record must not say `hardware` while page and echo still say that
/// nothing holds the host up, or it would be petted for longer than its peers wait.
#[test]
fn of_two_watchdog_times_the_holder_keeps_the_longer_until_both_copies_carry_the_other() {
    let none = Promise {
        terms: Terms { watchdog_actual: Duration::ZERO, ..default_terms() },
        watchdog: WatchdogClass::None,
        ..promise()
    };
    let found = Promise { watchdog: WatchdogClass::Hardware, ..promise() };
    let kept = none.sooner_of(&found);
    assert_eq!((kept.watchdog, kept.terms.watchdog_actual), (WatchdogClass::Hardware, ms(6_000)));
    let shorter = Promise { terms: Terms { watchdog_actual: ms(4_000), ..found.terms }, ..found };
    for (old, new) in [(found, shorter), (shorter, found)] {
        assert_eq!(old.change_to(&new).later, ["watchdog_actual"]);
        assert!(old.change_to(&new).sooner.is_empty(), "nothing that the page could keep ahead");
        assert_eq!(old.sooner_of(&new).terms.watchdog_actual, ms(6_000));
    }
}

#[test]
fn the_report_has_every_bound_with_its_number() {
    let rows = report(&with_watchdog(Preset::Default, ms(1_000), StorageKind::Nfs));
    let value = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.value.as_str());
    assert_eq!(value("verdict_after"), Some("35.536 s"));
    assert_eq!(value("fence_needs"), Some("3.0 s"));
    assert_eq!(value("renewal_needs"), Some("8.75 s"));
    assert_eq!(value("ratio"), Some("1.26"));
    assert_eq!(value("unknown_hold"), Some("60.0 s"));
}
