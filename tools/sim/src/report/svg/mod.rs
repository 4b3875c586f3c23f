//! A story as a picture: one lane a host, the storage in the middle, a red line where something was violated. It is drawn
//! from the story alone, in one file that needs no other.

mod canvas;

use std::time::Duration;

use canvas::{Canvas, number, width_of};

use super::text::seconds;
use crate::story::{Lane, Line, Process, Sight, Story};

const WIDTH: f64 = 1280.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 66.0;
const ROW: f64 = 10.0;
const BAR: f64 = 7.0;
/// Agent, fencer, lease and path stand above the runs.
const FIRST_RUN: usize = 4;
const CAPTION: f64 = 15.0;
/// More lines below the picture help nobody.
const CAPTIONS: usize = 40;

/// What is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// The story.
    pub story: &'a Story,
    /// Above it.
    pub title: &'a str,
    /// From this time.
    pub since: u64,
    /// To this time.
    pub until: u64,
}

/// A lane with its place.
struct Strip {
    lane: Lane,
    top: f64,
    rows: usize,
}

impl Strip {
    fn row(&self, row: usize) -> f64 {
        self.top + 12.0 + ROW * number(row)
    }

    fn height(&self) -> f64 {
        20.0 + ROW * number(self.rows)
    }
}

/// A domain's run on a host, as it was seen.
struct Seen {
    host: usize,
    run: usize,
    domain: usize,
    from: u64,
    to: u64,
    killed: Option<u64>,
    gone: Option<u64>,
}

impl Picture<'_> {
    /// The file's content.
    #[must_use]
    pub fn svg(&self) -> String {
        let runs = self.runs();
        let strips = self.strips(&runs);
        let bottom = strips.last().map_or(TOP, |strip| strip.top + strip.height());
        let mut canvas = Canvas::default();
        self.grid(&mut canvas, bottom);
        for strip in &strips {
            self.strip(&mut canvas, strip, &runs);
        }
        let captions = self.captions(&mut canvas, bottom + 46.0);
        self.head(&mut canvas, bottom);
        canvas.finish(WIDTH, bottom + 56.0 + CAPTION * number(captions), self.title)
    }

    fn x(&self, at: u64) -> f64 {
        let span = Duration::from_nanos(self.until.saturating_sub(self.since).max(1)).as_secs_f64();
        let since = Duration::from_nanos(at.clamp(self.since, self.until) - self.since).as_secs_f64();
        LEFT + (WIDTH - LEFT - RIGHT) * since / span
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.story.lines().iter().filter(|line| (self.since..=self.until).contains(&line.at))
    }

    /// How a host looked, and until when.
    fn sights(&self, host: usize) -> impl Iterator<Item = (u64, u64, &Sight)> {
        let sights = self.story.sights(host);
        let ends = sights.iter().skip(1).map(|(at, _)| *at).chain([self.until]);
        let spans = sights.iter().zip(ends).map(|((from, sight), to)| (*from, to, sight));
        spans.filter(|(from, to, _)| *to > self.since && *from <= self.until)
    }

    fn runs(&self) -> Vec<Seen> {
        let mut runs: Vec<Seen> = Vec::new();
        for host in 0..self.story.hosts {
            for (from, to, sight) in self.sights(host) {
                for seen in &sight.runs {
                    let since = |is: bool| is.then_some(from);
                    let (killed, gone) = (since(seen.killed), since(seen.gone));
                    match runs.iter_mut().find(|run| run.run == seen.run) {
                        Some(run) => {
                            (run.to, run.killed, run.gone) = (to, run.killed.or(killed), run.gone.or(gone));
                        }
                        None => {
                            let (run, domain) = (seen.run, seen.domain);
                            runs.push(Seen { host, run, domain, from, to, killed, gone });
                        }
                    }
                }
            }
        }
        runs
    }

    /// The first half of the hosts, the storage, the other hosts. A host that never was on has no lane.
    fn strips(&self, runs: &[Seen]) -> Vec<Strip> {
        let was_on = |host: &usize| self.sights(*host).any(|(_, _, sight)| sight.powered);
        let hosts: Vec<usize> = (0..self.story.hosts).filter(was_on).collect();
        let (above, below) = hosts.split_at(hosts.len().div_ceil(2));
        let lanes = above.iter().copied().map(Lane::Host).chain([Lane::Storage]);
        let mut top = TOP;
        let mut strips = Vec::new();
        for lane in lanes.chain(below.iter().copied().map(Lane::Host)) {
            let rows = match lane {
                Lane::Host(host) => FIRST_RUN + domains(runs.iter().filter(|run| run.host == host)).len(),
                Lane::Storage => domains(runs.iter()).len().max(1),
            };
            let strip = Strip { lane, top, rows };
            top += strip.height() + 6.0;
            strips.push(strip);
        }
        strips
    }

    fn head(&self, canvas: &mut Canvas, bottom: f64) {
        canvas.text("title", 12.0, 22.0, "start", self.title);
        let mut x = 12.0;
        let bars = [
            ("agent", "agent"),
            ("fencer", "fencer"),
            ("stopped", "stopped"),
            ("lease", "lease held"),
            ("latched", "end latched"),
            ("cut", "path cut"),
            ("killed", "killed, not gone"),
            ("tail", "gone, writes may land"),
            ("d0", "domain 0"),
        ];
        for (class, text) in bars {
            canvas.bar(class, (x, 36.0, 14.0, BAR), text);
            canvas.text("small", x + 19.0, 43.0, "start", text);
            x += 30.0 + width_of(text);
        }
        let flags = [
            ("fault", "fault"),
            ("verdict", "verdict"),
            ("kill", "kill, reset"),
            ("latch", "latch"),
            ("late", "late write"),
        ];
        for (class, text) in flags {
            canvas.flag(class, x + 4.0, 43.0, text);
            canvas.text("small", x + 12.0, 43.0, "start", text);
            x += 26.0 + width_of(text);
        }
        for line in self.lines().filter(|line| line.event == "violation") {
            let x = self.x(line.at);
            canvas.line("violation", (x, TOP - 8.0, x, bottom), &line.text);
        }
    }

    /// A line at each multiple of a step, so that no more than about 20 of them stand in the picture.
    fn grid(&self, canvas: &mut Canvas, bottom: f64) {
        const S: u64 = crate::time::S;
        let span = (self.until - self.since) / S;
        let step = [1, 2, 5, 10, 20, 60].into_iter().find(|step| span / step <= 20).unwrap_or(120);
        let mut second = self.since.div_ceil(S).next_multiple_of(step);
        while second * S <= self.until {
            let x = self.x(second * S);
            canvas.line("grid", (x, TOP - 4.0, x, bottom), "");
            canvas.text("small", x, bottom + 14.0, "middle", &format!("{second} s"));
            second += step;
        }
    }

    fn strip(&self, canvas: &mut Canvas, strip: &Strip, runs: &[Seen]) {
        canvas.text("name", 12.0, strip.top + 8.0, "start", &strip.lane.name());
        match strip.lane {
            Lane::Host(host) => self.host(canvas, strip, host, runs),
            Lane::Storage => self.storage(canvas, strip, runs),
        }
        let mut flags: Vec<(&str, &Line)> = self
            .lines()
            .filter(|line| line.lane == strip.lane)
            .filter_map(|line| Some((flag_of(line)?, line)))
            .collect();
        // What matters lies above what does not.
        flags.sort_by_key(|(class, _)| *class != "other");
        for (class, line) in flags {
            let title = format!("{} s {}: {}", seconds(line.at), line.event, line.text);
            canvas.flag(class, self.x(line.at), strip.top + 9.0, &title);
        }
    }

    fn host(&self, canvas: &mut Canvas, strip: &Strip, host: usize, runs: &[Seen]) {
        for (row, name) in ["agent", "fencer", "lease", "path"].into_iter().enumerate() {
            canvas.text("tiny", LEFT - 4.0, strip.row(row) + BAR, "end", name);
        }
        for (from, to, sight) in self.sights(host) {
            let mut bar = |row: Option<usize>, class: &str, what: &str| {
                let (x, end) = (self.x(from), self.x(to));
                let place = match row {
                    Some(row) => (x, strip.row(row), end - x, BAR),
                    None => (x, strip.top, end - x, strip.height()),
                };
                canvas.bar(class, place, &format!("{what}, {} to {} s", seconds(from), seconds(to)));
            };
            if !sight.powered {
                continue;
            }
            bar(
                None,
                if sight.still { "still" } else { "on" },
                if sight.still { "stands still" } else { "on" },
            );
            for (row, name, process) in [(0, "agent", sight.agent), (1, "fencer", sight.fencer)] {
                match process {
                    Process::Gone => {}
                    Process::Stopped => bar(Some(row), "stopped", &format!("{name} stopped")),
                    Process::Runs => bar(Some(row), name, name),
                }
            }
            match (sight.armed, sight.latched) {
                (_, true) => bar(Some(2), "latched", "the lease's end is latched"),
                (true, false) => bar(Some(2), "lease", "lease held"),
                (false, false) => {}
            }
            match (sight.requests_cut, sight.answers_cut) {
                (true, true) => bar(Some(3), "cut", "path cut"),
                (true, false) => bar(Some(3), "cut", "requests cut"),
                (false, true) => bar(Some(3), "cut", "answers cut"),
                (false, false) => {}
            }
        }
        let mine: Vec<&Seen> = runs.iter().filter(|run| run.host == host).collect();
        let rows = domains(mine.iter().copied());
        for run in mine {
            let row = rows.iter().position(|domain| *domain == run.domain).unwrap_or(0);
            self.run(canvas, strip.row(FIRST_RUN + row), run);
        }
    }

    /// One row a domain, with all its runs wherever they are: no two may overlap.
    fn storage(&self, canvas: &mut Canvas, strip: &Strip, runs: &[Seen]) {
        canvas.bar(
            "storage",
            (LEFT, strip.top, WIDTH - LEFT - RIGHT, strip.height()),
            "who writes the disks",
        );
        for (row, domain) in domains(runs.iter()).into_iter().enumerate() {
            canvas.text("tiny", LEFT - 4.0, strip.row(row) + BAR, "end", &format!("disk of {domain}"));
            for run in runs.iter().filter(|run| run.domain == domain) {
                self.run(canvas, strip.row(row), run);
                canvas.text(
                    "inside",
                    self.x(run.from) + 2.0,
                    strip.row(row) + BAR - 0.5,
                    "start",
                    &format!("host-{}", run.host),
                );
            }
        }
    }

    fn run(&self, canvas: &mut Canvas, y: f64, run: &Seen) {
        let title = format!(
            "domain {} on host-{}, run {}, {} to {} s",
            run.domain,
            run.host,
            run.run,
            seconds(run.from),
            seconds(run.to)
        );
        let gone = run.gone.unwrap_or(run.to);
        let ends = run.killed.unwrap_or(gone).min(gone);
        let mut bar = |class: &str, from: u64, to: u64, what: &str| {
            if to > from {
                canvas.bar(
                    class,
                    (self.x(from), y, self.x(to) - self.x(from), BAR),
                    &format!("{what}{title}"),
                );
            }
        };
        bar(&format!("d{}", run.domain % 8), run.from, ends, "");
        bar("killed", ends, gone, "killed, not gone: ");
        bar("tail", gone, run.to, "gone, and what it wrote may still land: ");
    }

    /// Faults, verdicts, kills and the violation in words, below. Gives how many lines.
    fn captions(&self, canvas: &mut Canvas, top: f64) -> usize {
        let told = |line: &&Line| {
            matches!(flag_of(line), Some("fault" | "verdict" | "kill" | "latch")) || line.event == "violation"
        };
        let all: Vec<&Line> = self.lines().filter(told).collect();
        let shown = &all[all.len().saturating_sub(CAPTIONS)..];
        for (number_of, line) in shown.iter().enumerate() {
            let y = top + CAPTION * number(number_of);
            canvas.text("small", LEFT - 12.0, y, "end", &seconds(line.at));
            canvas.text(
                "small",
                LEFT,
                y,
                "start",
                &format!("{}  {}: {}", line.lane.name(), line.event, line.text),
            );
        }
        shown.len()
    }
}

/// Domains in the order of their numbers.
fn domains<'a>(runs: impl Iterator<Item = &'a Seen>) -> Vec<usize> {
    runs.map(|run| run.domain).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

/// The flag of what happened; none for routine.
fn flag_of(line: &Line) -> Option<&'static str> {
    Some(match line.event {
        "violation" | "renewal" => return None,
        "fault" => "fault",
        "verdict" => "verdict",
        "kill" | "kill-all" | "destroy" | "reset" => "kill",
        "fencer" if line.text.starts_with("lease end latched") => "latch",
        "late" => "late",
        _ => "other",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::RunSight;
    use crate::time::S;

    #[test]
    fn the_violation_is_a_red_line_and_words_are_escaped() {
        let mut story = Story::new(true, 2);
        let runs = vec![RunSight { run: 0, domain: 0, killed: false, gone: false }];
        story.see(0, 0, Sight { powered: true, runs, ..Sight::default() });
        story.tell(2 * S, Lane::Host(0), "fault", || "a < b".to_owned());
        story.tell(3 * S, Lane::Storage, "violation", || "VIOLATED".to_owned());
        let svg = Picture { story: &story, title: "seed 1", since: 0, until: 4 * S }.svg();
        assert!(svg.contains("<line class=\"violation\"") && svg.contains("a &lt; b"), "{svg}");
        assert!(
            svg.contains("host-0") && !svg.contains(">host-1<"),
            "a host that never was on has no lane: {svg}"
        );
        assert!(svg.contains("prefers-color-scheme: dark"));
    }
}
