//! The command line.

use std::process::ExitCode;

use clap::Parser;
use leasefence_sim::World;
use leasefence_sim::plan::{Class, Options, Plan};
use leasefence_sim::time::S;

#[derive(Parser, Debug)]
struct Args {
    #[arg(long, default_value_t = 0)]
    start_seed: u64,
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    #[arg(long)]
    hosts: Option<usize>,
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Class>,
    #[arg(long)]
    trace: bool,
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options { hosts: args.hosts, classes: args.faults.clone(), faults_for: None };
    let started = std::time::Instant::now();
    let mut lived = 0;
    let mut events = 0;
    let mut bad = 0;
    let mut counts = leasefence_sim::Counts::default();
    for seed in args.start_seed..args.start_seed + args.seeds {
        let mut plan = Plan::draw(seed, &options);
        if args.quiet {
            plan.faults.clear();
        }
        let mut world = World::new(plan.clone(), args.trace);
        let outcome = world.live();
        lived += outcome.lived;
        events += outcome.events;
        counts.add(&outcome.counts);
        if args.trace {
            println!("{}", plan.describe());
            print!("{}", world.story().text());
        }
        if let Some(violation) = outcome.violation {
            bad += 1;
            println!("seed {seed} {:?} at {} ms: {violation}", plan.classes, outcome.lived / 1_000_000);
        }
    }
    let hours = lived as f64 / S as f64 / 3600.0;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("{bad} bad, {hours:.1} h, {:.1} h/CPU min, {events} events {counts:?}", hours / minutes);
    if bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
