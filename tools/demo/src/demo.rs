//! The programme of the demo, and what it tells its audience.

use std::error::Error;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use leasefence_demo::guest::Guest;
use leasefence_demo::lease_file::LeaseFile;
use leasefence_demo::scenario::{self, ScenarioError, Stage};
use leasefence_demo::story::Story;
use leasefence_demo::verdict::Condemned;
use leasefence_demo::wait::{self, WaitError};
use leasefence_demo::witness::Witness;
use leasefence_demo::{Binaries, Cluster, deps, run_dir, svg};
use leasefence_say::say;

const GUEST: (&str, &str) = ("guest", "6c656173-6566-4e63-a000-000000000001");
const SCRATCH: (&str, &str) = ("scratch", "6c656173-6566-4e63-a000-000000000002");

/// After this many deaths of its host a guest is held.
const DEATHS_TO_HOLD: usize = 2;

/// How the demo runs.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Take the programs from this directory, instead of building them.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where to run: on a disk, not in memory. The picture stays there.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/leasefence-demo")]
    dir: PathBuf,
    /// Play only these scenarios, in this order.
    #[arg(long, value_name = "LETTER")]
    scenario: Vec<Scenario>,
    /// Keep the hosts running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// The three ways to lose a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Scenario {
    /// The host loses its power.
    A,
    /// Its agent is stopped past the lease's end.
    B,
    /// An operator fences it.
    C,
}

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Plays the demo.
pub(crate) fn run(options: &Options) -> Outcome {
    let start = Instant::now();
    deps::check()?;
    head("The programs");
    let binaries = match &options.bin_dir {
        Some(directory) => Binaries::at(directory)?,
        None => Binaries::build()?,
    };
    let mut cluster = Cluster::create(&options.dir, &binaries, 3)?;
    clean_up_on_panic(cluster.run_dir().path());
    let played = play(options, &mut cluster);
    if played.is_err() {
        keep_logs(&mut cluster);
    }
    played?;
    drop(cluster);
    say!("\nAll is well, and all is cleaned up, after {:.0} s.", start.elapsed().as_secs_f64());
    Ok(())
}

fn play(options: &Options, cluster: &mut Cluster) -> Outcome {
    boot(cluster)?;
    check_the_checker(cluster)?;
    start_leasefence(cluster)?;
    let guest = Guest::create(&cluster.shared(), GUEST.0, GUEST.1)?;
    let witness = Witness::start(cluster.run_dir(), guest.name(), guest.disk())?;
    start_guest(cluster, &guest)?;
    let lease = LeaseFile::open(&cluster.shared().join("demo.lease"))?;
    let mut stage = Stage { cluster, guest: &guest, witness: &witness, lease: &lease };
    let stories = play_all(options, &mut stage)?;
    let picture = options.dir.join("timeline.svg");
    fs::write(&picture, svg::draw(&stories))?;
    head("The whole as a picture");
    say!("    {}", picture.display());
    if options.keep {
        leave_to_play(cluster)?;
    }
    Ok(())
}

fn boot(cluster: &mut Cluster) -> Outcome {
    head("Three hosts: namespaces with a PID 1, clocks, devices and a libvirtd of their own");
    let start = Instant::now();
    cluster.power_on()?;
    for host in &cluster.hosts {
        let uptime = host.exec(&["cat", "/proc/uptime"])?;
        let uptime = uptime.split('.').next().unwrap_or_default();
        say!("    {} is up; its clock says that it booted {uptime} s ago", host.name());
    }
    say!("    after {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn check_the_checker(cluster: &Cluster) -> Outcome {
    head("A check of the checker: one guest, started twice on purpose, before Leasefence guards anything");
    let scratch = Guest::create(&cluster.shared(), SCRATCH.0, SCRATCH.1)?;
    let caught = scenario::self_check(cluster, &scratch)?;
    say!("    caught, as it must be: {caught}");
    Ok(())
}

fn start_leasefence(cluster: &mut Cluster) -> Outcome {
    head("Leasefence: a lease file on the shared storage, fencer and agent on every host, timing `fast`");
    say!("    --test: only for tests like this one. Hosts may share a kernel, which no real cluster may.");
    say!(
        "    --accept none: peers may call a host expired though no watchdog would end it. Here that is safe, because a"
    );
    say!("    host's fencer dies only together with its guests. On real hosts, have a hardware watchdog.");
    say!("{}", indent(&cluster.init_lease()?));
    cluster.start_leasefence()?;
    for index in 0..cluster.hosts.len() {
        let own = cluster.wait_until_held(index)?.own;
        let slot = own.slot.map_or_else(String::new, |slot| slot.to_string());
        say!("    {} holds its lease, in slot {slot}", cluster.hosts[index].name());
    }
    Ok(())
}

fn start_guest(cluster: &Cluster, guest: &Guest) -> Outcome {
    head("A guest on host-1 that writes to the shared disk ten times a second, sixteen writes at once");
    guest.start(&cluster.hosts[0])?;
    say!("{}", indent(&cluster.hosts[0].exec(&["leasefence", "ha", "enable", guest.name()])?));
    cluster.wait_until_protected(0, guest.name())?;
    say!("{}", indent(&cluster.hosts[0].exec(&["leasefence", "status"])?));
    Ok(())
}

fn play_all(options: &Options, stage: &mut Stage<'_>) -> Outcome<Vec<Story>> {
    let all = [Scenario::A, Scenario::B, Scenario::C];
    let chosen = if options.scenario.is_empty() { &all[..] } else { &options.scenario };
    let mut stories = Vec::new();
    for scenario in chosen {
        if !stories.is_empty() && stories.len() % DEATHS_TO_HOLD == 0 {
            forgive(stage)?;
        }
        head(match scenario {
            Scenario::A => "(a) The guest's host loses its power",
            Scenario::B => {
                "(b) The agent of the guest's host is stopped until its lease has run out, then goes on"
            }
            Scenario::C => "(c) An operator fences the guest's host",
        });
        let story = match scenario {
            Scenario::A => stage.power_cut(),
            Scenario::B => stage.stopped_agent(),
            Scenario::C => stage.planned_fence(),
        }?;
        say!("{story}");
        stories.push(story);
    }
    Ok(stories)
}

/// A guest under which host after host dies may be what kills them, so after two deaths it is held. Here it is the demo.
fn forgive(stage: &Stage<'_>) -> Outcome {
    head(
        "A guest whose host has died twice within ten minutes is restarted no more, until somebody says that it may",
    );
    let runner =
        wait::until("the guest", Duration::from_secs(10), || stage.cluster.runner(stage.guest.name()))?;
    say!("    leasefence ha resume {}, on {}", stage.guest.name(), stage.cluster.hosts[runner].name());
    say!("{}", indent(&stage.cluster.resume(runner, stage.guest.name())?));
    Ok(())
}

fn leave_to_play(cluster: &Cluster) -> Outcome {
    head("The hosts stay until you press Ctrl-C. To look around on one of them:");
    for host in &cluster.hosts {
        say!("    nsenter -t {} -m -p -n -u -C -T    # {}", host.init()?.pid, host.name());
    }
    loop {
        match wait::pause(Duration::from_secs(3600)) {
            Err(WaitError::Interrupted) => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
    }
}

/// After a failure the logs stay, until the next run cleans them. To be interrupted is no failure.
fn keep_logs(cluster: &mut Cluster) {
    if wait::check_interrupt().is_ok() {
        cluster.run_dir().keep();
        eprintln!(
            "\nThe logs of all hosts are kept until the next run, in {}",
            cluster.run_dir().path().display()
        );
    }
}

/// A panic ends the process at once, and nothing is dropped: the hosts die with it, since their standard input ends.
fn clean_up_on_panic(run: &Path) {
    let run = run.to_owned();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        run_dir::clean(&run);
    }));
}

/// Says why the demo ended early. A split brain is what all this is about: it is shouted.
pub(crate) fn report(error: &(dyn Error + 'static)) -> ExitCode {
    let split_brain =
        matches!(error.downcast_ref(), Some(ScenarioError::Condemned(Condemned::SplitBrain(_))));
    let (red, plain) =
        if split_brain && std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    eprintln!("{red}leasefence-demo: {error}{plain}");
    ExitCode::FAILURE
}

fn head(heading: &str) {
    let (bold, plain) = if std::io::stdout().is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    say!("\n{bold}{heading}{plain}");
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
