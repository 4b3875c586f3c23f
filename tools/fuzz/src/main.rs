//! The plain run, without libFuzzer: mutants from consecutive seeds for some seconds, or so many.
//!
//! `leasefence-fuzz [--seconds N] [--seed S] [--runs N]`; the first seed is taken from the clock when none is given.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use leasefence_fuzz::{decode_all, mutant};
use leasefence_say::say;

fn main() -> ExitCode {
    let mut options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!(
                "leasefence-fuzz: {complaint}; usage: leasefence-fuzz [--seconds N] [--seed S] [--runs N]"
            );
            return ExitCode::from(2);
        }
    };
    say!("first seed {}", options.seed);
    let began = Instant::now();
    let mut done = 0_u64;
    while began.elapsed() < options.time && done < options.runs {
        let seed = options.seed;
        if std::panic::catch_unwind(|| decode_all(&mutant(seed))).is_err() {
            eprintln!("seed {seed} failed; replay it alone:\n  tools/fuzz/run --seed {seed} --runs 1");
            return ExitCode::FAILURE;
        }
        options.seed = seed.wrapping_add(1);
        done += 1;
    }
    say!("{done} mutants in {:.0} s, none made it panic", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

struct Options {
    time: Duration,
    seed: u64,
    runs: u64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut options = Self { time: Duration::from_secs(60), seed: now.as_secs() << 20, runs: u64::MAX };
        while let Some(option) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{option} wants a number"))?;
            let number: u64 = value.parse().map_err(|_| format!("{option} {value}: not a number"))?;
            match option.as_str() {
                "--seconds" => options.time = Duration::from_secs(number),
                "--seed" => options.seed = number,
                "--runs" => options.runs = number,
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(options)
    }
}
