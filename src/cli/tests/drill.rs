//! `leasefence drill` without a cluster: its exit codes, and the one who holds a process and lets it on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn leasefence(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasefence"));
    command.args(words);
    command
}

fn run(words: &[&str]) -> Output {
    leasefence(words).output().unwrap()
}

fn config(directory: &Path) -> String {
    let path = directory.join("leasefence.toml");
    let (lease, run_dir, state) = (directory.join("lease"), directory.join("run"), directory.join("state"));
    let text = format!(
        "cluster = \"lab\"\nlease = \"{}\"\nrun_dir = \"{}\"\nstate_dir = \"{}\"\n",
        lease.display(),
        run_dir.display(),
        state.display()
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn exit_codes_tell_wrong_usage_from_what_could_not_be_run() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    assert_eq!(run(&["drill", "list"]).status.code(), Some(0));
    assert_eq!(run(&["drill", "run"]).status.code(), Some(2), "no name");
    assert_eq!(run(&["drill", "run", "earthquake"]).status.code(), Some(2), "no such scenario");
    assert_eq!(run(&["drill", "run", "--all", "planned-fence"]).status.code(), Some(2), "all, or some");
    let missing = run(&["--config", "/nonexistent", "drill", "run", "--all", "--dry-run"]);
    assert_eq!(missing.status.code(), Some(3));
    let output = run(&["--config", &config, "drill", "run", "planned-fence", "--dry-run", "--json"]);
    assert_eq!(output.status.code(), Some(3), "there is no agent");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["exit_code"].as_u64(), &report["scenarios"][0]["result"]),
        (Some(3), &"not-run".into())
    );
    assert!(
        report["scenarios"][0]["notes"][0].as_str().unwrap().contains("no agent is running here"),
        "{report}"
    );
}

#[test]
fn the_help_and_the_list_say_what_there_is() {
    let list: serde_json::Value = serde_json::from_slice(&run(&["drill", "list", "--json"]).stdout).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["libvirtd-hung", "agent-killed", "planned-fence", "storage-stall", "agent-frozen", "watchdog-bite"]
    );
    let help = String::from_utf8(run(&["drill", "run", "--help"]).stdout).unwrap();
    for word in names.into_iter().chain(["Exit codes", "--i-accept-that-guests-die", "--i-accept-a-reset"]) {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}

/// Field 3 of its `stat`: `T` for a process that is stopped.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

fn wait_until(pid: u32, what: &str, is_so: impl Fn(char) -> bool) {
    let begun = Instant::now();
    while !is_so(state(pid)) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: it is {}", state(pid));
        thread::sleep(Duration::from_millis(10));
    }
}

fn holder(pid: u32, limit_ms: &str) -> Child {
    let mut child = leasefence(&["drill", "hold", &pid.to_string(), limit_ms, "sleep"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    child
}

/// Catches a drill that dies and leaves a process stopped for ever: the holder outlives signals, and lets go when its input ends.
#[test]
fn a_process_that_is_held_is_let_on_when_the_drill_is_gone_or_its_time_is_over() {
    let mut victim = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let pid = victim.id();
    let mut hold = holder(pid, "60000");
    wait_until(pid, "it is stopped", |state| state == 'T');
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(Pid::from_raw(hold.id().try_into().unwrap()), signal).unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!((hold.try_wait().unwrap(), state(pid)), (None, 'T'), "a signal does not end it");
    drop(hold.stdin.take());
    wait_until(pid, "it goes on when the drill is gone", |state| state != 'T');
    assert!(hold.wait().unwrap().success());
    let mut hold = holder(pid, "300");
    wait_until(pid, "it goes on when the time is over", |state| state != 'T');
    hold.wait().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
}
