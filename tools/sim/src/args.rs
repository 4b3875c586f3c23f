//! What can be asked for on the command line, and the command that asks for one seed again. It never runs anything.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::plan::{Class, Options, Plan};
use crate::seeds::Search;

const EXAMPLES: &str = "\
Examples:
  leasefence-sim --seeds 1000                        seeds 0 to 999, on all cores
  leasefence-sim --random --for 2m                   new seeds for two minutes; the first one is printed
  leasefence-sim --faults storage,late --hosts 3     only these classes of faults, three hosts each
  leasefence-sim --start-seed 17 --seeds 1 --trace   one seed, everything that happens in it
  leasefence-sim --start-seed 17 --seeds 1 --keep-faults 2,5 --timeline 17.svg
                                                     the same with two of its faults alone, as a picture
  leasefence-sim --faults outside                    what breaks outside the promise: reported apart

A seed draws a cluster, its hosts and domains, and the faults, then lives through them in virtual time. The same seed with
the same options gives the same story, byte for byte, on every machine and with every number of jobs.

Exit code: 0 nothing was violated, 1 something was, or whoever read has gone, 2 the command line is wrong. A violation in
a seed whose faults break a stated assumption (classes beyond and outside) is reported as outside the promise, and fails
nothing.";

const MUTANTS: &str = "\
Planted bugs, to show that each would be found, need a build of their own, which is never a release:
  cargo run --profile mutants --features planted-bugs -p leasefence-sim -- --mutants";

/// How many seeds are run where neither a number nor a time is given.
const SEEDS: u64 = 100;

/// How a story is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Trace {
    /// One line an event: for grep.
    Lines,
    /// One column a host, the storage in the middle.
    Columns,
}

/// The command line.
#[derive(Clone, Parser, Debug)]
#[command(
    name = "leasefence-sim",
    version,
    about = "Attacks Leasefence's core with faults in virtual time, and judges what it does",
    after_help = "`--help` shows examples.",
    after_long_help = format!("{EXAMPLES}\n\n{MUTANTS}")
)]
pub struct Args {
    /// The first seed
    #[arg(
        long,
        value_name = "SEED",
        default_value_t = 0,
        conflicts_with = "random",
        help_heading = "Which seeds"
    )]
    pub start_seed: u64,
    /// How many seeds [default: 100, or as many as fit into --for]
    #[arg(long, value_name = "N", help_heading = "Which seeds")]
    pub seeds: Option<u64>,
    /// Begin at a seed taken from the clock; it is printed
    #[arg(long, help_heading = "Which seeds")]
    pub random: bool,
    /// Go on with the next seeds until so much time has passed, as in 90s, 2m, 8h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, help_heading = "Which seeds")]
    pub run_for: Option<Duration>,

    /// This many hosts in each seed, 2 to 16 [default: drawn]
    #[arg(long, value_name = "N", value_parser = hosts, help_heading = "What they stand for")]
    pub hosts: Option<usize>,
    /// Only faults of these classes [default: mixes of them, drawn]
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', help_heading = "What they stand for")]
    pub faults: Vec<Class>,
    /// Of each seed only the faults with these numbers, or `none`
    #[arg(long, value_name = "NUMBERS", help_heading = "What they stand for")]
    pub keep_faults: Option<Numbers>,
    /// Hosts that stay off
    #[arg(long, value_name = "NUMBERS", help_heading = "What they stand for")]
    pub without_hosts: Option<Numbers>,
    /// Domains that nobody starts
    #[arg(long, value_name = "NUMBERS", help_heading = "What they stand for")]
    pub without_domains: Option<Numbers>,

    /// Threads, each with a seed of its own [default: all cores]
    #[arg(long, value_name = "N", help_heading = "How")]
    pub jobs: Option<usize>,
    /// Do not look for fewer faults and hosts that violate the same
    #[arg(long, help_heading = "How")]
    pub no_shrink: bool,
    /// How long to look for them, for each violation
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration, help_heading = "How")]
    pub shrink_for: Duration,

    /// Tell everything that happens, as lines or in columns
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "lines", help_heading = "What is shown")]
    pub trace: Option<Trace>,
    /// How much of the time before a violation is told and drawn; with --trace all of it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration, help_heading = "What is shown")]
    pub last: Duration,
    /// Draw the first violation, or with one seed that seed, as an SVG
    #[arg(long, value_name = "FILE", help_heading = "What is shown")]
    pub timeline: Option<std::path::PathBuf>,
    /// The result as JSON on standard output, and nothing else there
    #[arg(long, conflicts_with = "trace", help_heading = "What is shown")]
    pub json: bool,
    /// No progress; only violations and the sum
    #[arg(long, help_heading = "What is shown")]
    pub quiet: bool,

    /// Plant each bug, and show that it is found: --seeds and --for are then per bug
    #[arg(long, conflicts_with_all = ["trace", "timeline"], help_heading = "Planted bugs")]
    pub mutants: bool,
    /// Only these of them
    #[arg(
        long,
        value_name = "BUGS",
        requires = "mutants",
        value_delimiter = ',',
        help_heading = "Planted bugs"
    )]
    pub only: Vec<String>,
    /// Run ordinary seeds with this bug planted
    #[arg(long, value_name = "BUG", conflicts_with = "mutants", help_heading = "Planted bugs")]
    pub plant: Option<String>,
}

/// A list of numbers, as in `2,5`, or `none`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Numbers(pub Vec<usize>);

impl std::str::FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let number = |word: &str| word.trim().parse().map_err(|_| format!("`{word}` is no number"));
        text.split(',').map(number).collect::<Result<_, _>>().map(Self)
    }
}

fn hosts(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|hosts| (2..=16).contains(hosts)).ok_or_else(|| "2 to 16".to_owned())
}

impl Args {
    /// How each seed's plan is made.
    #[must_use]
    pub fn search(&self) -> Search {
        let numbers = |list: &Option<Numbers>| list.as_ref().map(|list| list.0.clone());
        Search {
            options: Options { hosts: self.hosts, classes: self.faults.clone(), ..Options::default() },
            keep_faults: numbers(&self.keep_faults),
            without_hosts: numbers(&self.without_hosts).unwrap_or_default(),
            without_domains: numbers(&self.without_domains).unwrap_or_default(),
        }
    }

    /// How many seeds at most; none: as many as fit into the time.
    #[must_use]
    pub fn most_seeds(&self) -> Option<u64> {
        self.seeds.or_else(|| self.run_for.is_none().then_some(SEEDS))
    }

    /// The command that runs this plan again, and tells it.
    #[must_use]
    pub fn replay(&self, plan: &Plan) -> String {
        replay(&self.search().options, plan, self.plant.as_deref())
    }
}

/// The command that runs a plan again that was drawn with these options.
#[must_use]
pub fn replay(options: &Options, plan: &Plan, planted: Option<&str>) -> String {
    let mut command = match planted {
        Some(bug) => {
            format!("cargo run --profile mutants --features planted-bugs -p leasefence-sim -- --plant {bug} ")
        }
        None => "cargo run --release -p leasefence-sim -- ".to_owned(),
    };
    command += &format!("--start-seed {} --seeds 1", plan.seed);
    if let Some(hosts) = options.hosts {
        command += &format!(" --hosts {hosts}");
    }
    if !options.classes.is_empty() {
        command += &format!(" --faults {}", words(&options.classes));
    }
    let list = |numbers: &[usize]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if !plan.left_out.is_empty() {
        let kept: Vec<usize> = plan.kept().map(|(number, _)| number).collect();
        command +=
            &format!(" --keep-faults {}", if kept.is_empty() { "none".to_owned() } else { list(&kept) });
    }
    if !plan.off.is_empty() {
        command += &format!(" --without-hosts {}", list(&plan.off));
    }
    if !plan.unstarted.is_empty() {
        command += &format!(" --without-domains {}", list(&plan.unstarted));
    }
    command + " --trace"
}

/// Classes as the command line takes them.
#[must_use]
pub fn words(classes: &[Class]) -> String {
    let word = |class: &Class| class.to_possible_value().map(|value| value.get_name().to_owned());
    classes.iter().filter_map(word).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_replay_command_gives_the_same_plan() {
        let args = Args::parse_from(["leasefence-sim", "--hosts", "3", "--faults", "storage,late"]);
        let plan = args.search().plan(17).with_faults(&[0, 2]).without_hosts(&[1]).without_domains(&[0]);
        let command = args.replay(&plan);
        let words = command.split(" -- ").nth(1).unwrap().split(' ');
        let again = Args::parse_from(std::iter::once("leasefence-sim").chain(words));
        assert_eq!(again.search().plan(again.start_seed), plan, "{command}");
    }

    #[test]
    fn no_fault_at_all_can_be_asked_for() {
        let args = Args::parse_from(["leasefence-sim", "--keep-faults", "none"]);
        assert_eq!(args.search().plan(3).kept().count(), 0);
    }
}
