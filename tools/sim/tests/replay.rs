//! The same seed gives the same story, whatever runs beside it; what is left out of a plan leaves the rest as it was.

use std::cell::RefCell;

use leasefence_sim::plan::{Class, FaultKind, Options, Plan};
use leasefence_sim::report::svg::Picture;
use leasefence_sim::seeds::{self, Limits, Search, Totals};
use leasefence_sim::shrink::Shrinker;
use leasefence_sim::story::Story;
use leasefence_sim::time::S;

/// Short worlds: a test is no hunt.
fn search(classes: &[Class]) -> Search {
    let (faults_for, heals_within) = (Some(80 * S), Some(5 * S));
    let options = Options { hosts: Some(3), classes: classes.to_vec(), faults_for, heals_within };
    Search { options, ..Search::default() }
}

fn story(plan: &Plan) -> Story {
    seeds::live(plan, true).1
}

#[test]
fn the_same_seed_twice_gives_byte_identical_stories_and_pictures() {
    let plans = [(0, &[][..]), (1, &[]), (2, &[]), (3, &[Class::Migrations]), (4, &[Class::Migrations])];
    for (seed, classes) in plans {
        let plan = search(classes).plan(seed);
        let (first, second) = (story(&plan), story(&plan));
        assert!(first.lines().len() > 100, "something happens");
        assert_eq!(first.text(), second.text(), "seed {seed}");
        let svg = |story| Picture { story, title: "a seed", since: 0, until: plan.end() }.svg();
        assert_eq!(svg(&first), svg(&second), "seed {seed}");
    }
}

#[test]
fn domains_move_and_what_they_wait_for_fails() {
    let stories: String = (1..6).map(|seed| story(&search(&[Class::Migrations]).plan(seed)).text()).collect();
    for happens in [
        "has come in, and runs",
        "is resumed by libvirt",
        "is stopped by the agent",
        "goes on, its agent says",
    ] {
        assert!(stories.contains(happens), "{happens}");
    }
}

#[test]
fn a_story_that_nobody_reads_ends_as_one_that_is_kept() {
    let plan = search(&[Class::Storage, Class::Crashes]).plan(5);
    assert_eq!(seeds::live(&plan, false).0, seeds::live(&plan, true).0);
}

#[test]
fn one_thread_and_many_say_the_same_in_the_same_order() {
    let all = |jobs| {
        let told = RefCell::new(Vec::new());
        let limits = Limits { first: 100, seeds: Some(6), until: None, jobs };
        // Suspended hosts are outside the promise: some of these seeds may have something to tell.
        let totals: Totals = seeds::run(&search(&[Class::Outside, Class::Power]), &limits, |_, finding| {
            told.borrow_mut().extend(finding.map(|finding| (finding.plan.seed, finding.violation.clone())));
        });
        (totals, told.into_inner())
    };
    let (one, many) = (all(1), all(4));
    assert_eq!(one, many);
    assert!(one.1.is_sorted_by_key(|(seed, _)| *seed));
    assert_eq!(one.0.seeds, 6);
}

#[test]
fn a_plan_without_one_of_its_faults_still_runs_and_the_others_keep_their_numbers() {
    let search = search(&[Class::Storage, Class::Pauses]);
    let plan = (7..).map(|seed| search.plan(seed)).find(|plan| plan.faults.len() >= 4).unwrap();
    let kept: Vec<usize> = (0..plan.faults.len()).filter(|number| *number != 1).collect();
    let story = story(&plan.with_faults(&kept));
    let struck = |number: usize| {
        let name = format!("#{number} ");
        story.lines().iter().any(|line| line.event == "fault" && line.text.starts_with(&name))
    };
    assert!(struck(0) && !struck(1) && struck(2), "{}", story.text());
}

/// Catches: a cut that nothing ends, and that keeps a host from being well again (`migrations` seed 251064).
#[test]
fn no_fault_strikes_once_all_are_over() {
    for classes in [[Class::Migrations], [Class::Sources], [Class::Takes], [Class::Losses]] {
        let options = Options { classes: classes.to_vec(), ..Options::default() };
        for seed in (0..100).chain([251_064]) {
            let plan = Plan::draw(seed, &options);
            let late = plan.faults.iter().find(|fault| fault.at >= plan.mended_at);
            assert!(late.is_none(), "{classes:?} {seed}: {late:?}");
        }
    }
}

#[test]
fn a_host_that_is_left_out_never_does_anything_and_the_others_live() {
    let plan = search(&[Class::Storage]).plan(9).without_hosts(&[1]);
    let story = story(&plan);
    assert!(story.sights(1).iter().all(|(_, sight)| !sight.powered));
    assert!(story.sights(0).iter().any(|(_, sight)| sight.armed), "host-0 holds its lease");
}

#[test]
fn the_shrinker_keeps_what_the_failure_needs_and_its_replay_fails_too() {
    let search = search(&[Class::Power, Class::Guests]);
    let losses =
        |plan: &Plan| plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::PowerLoss { .. }));
    let plan =
        (11..).map(|seed| search.plan(seed)).find(|plan| losses(plan) && plan.faults.len() >= 3).unwrap();
    // A failure of our own: some host loses its power.
    let fails = |plan: &Plan| {
        let story = story(plan);
        (0..plan.hosts.len()).any(|host| {
            let sights = story.sights(host);
            sights.windows(2).any(|pair| pair[0].1.powered && !pair[1].1.powered)
        })
    };
    assert!(fails(&plan));
    let small = Shrinker { fails: &mut |plan| fails(plan), over: &mut || false }.shrink(&plan);
    assert_eq!(small.kept().count(), 1, "{}", small.describe());
    assert_eq!(small.off.len(), plan.hosts.len() - 1);
    let kept: Vec<usize> = small.kept().map(|(number, _)| number).collect();
    let replayed = Search {
        keep_faults: Some(kept),
        without_hosts: small.off.clone(),
        without_domains: small.unstarted.clone(),
        ..search
    };
    assert_eq!(replayed.plan(plan.seed), small);
    assert!(fails(&small));
}
