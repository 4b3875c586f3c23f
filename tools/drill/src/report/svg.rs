//! A rehearsal as a timeline: a lane for the host that fails, and one for each peer that acts.

use std::fmt::Write;

use crate::judge::{Judgement, Kind, Mark, Window};
use crate::report::signed;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 30.0;
const LANE: f64 = 58.0;
const TOP: f64 = 16.0;
const AXIS: f64 = 30.0;

/// Draws it; `host` is the one that fails.
#[must_use]
pub(super) fn timeline(host: &str, judgement: &Judgement) -> String {
    let mut out = String::new();
    let picture = Picture::new(host, judgement);
    let height = picture.height();
    put(
        &mut out,
        format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of {}\">",
            super::html::escape(host)
        ),
    );
    picture.draw(&mut out);
    out.push_str("</svg>\n");
    out
}

struct Picture<'a> {
    marks: &'a [Mark],
    windows: &'a [Window],
    lanes: Vec<&'a str>,
    from_ms: f64,
    to_ms: f64,
}

impl<'a> Picture<'a> {
    fn new(host: &'a str, judgement: &'a Judgement) -> Self {
        let mut lanes = vec![host];
        for mark in &judgement.marks {
            if !lanes.contains(&mark.host.as_str()) {
                lanes.push(&mark.host);
            }
        }
        let ends = judgement.windows.iter().map(|window| window.to_ms);
        let all: Vec<_> = judgement.marks.iter().map(|mark| mark.at_ms).chain(ends).collect();
        let times = || all.iter().map(|at| number(*at));
        let (first, last) = (times().fold(0.0, f64::min), times().fold(1000.0, f64::max));
        let margin = (last - first) * 0.03;
        Self {
            marks: &judgement.marks,
            windows: &judgement.windows,
            lanes,
            from_ms: first - margin,
            to_ms: last + margin,
        }
    }

    fn height(&self) -> f64 {
        TOP + LANE * count(self.lanes.len()) + AXIS
    }

    fn x(&self, at_ms: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_ms - self.from_ms) / (self.to_ms - self.from_ms)
    }

    fn y(&self, lane: usize) -> f64 {
        TOP + LANE * count(lane)
    }

    fn at(&self, kind: Kind) -> Option<f64> {
        self.marks.iter().find(|mark| mark.kind == kind).map(|mark| number(mark.at_ms))
    }

    fn draw(&self, out: &mut String) {
        self.axis(out);
        for (lane, host) in self.lanes.iter().enumerate() {
            let y = self.y(lane);
            words(out, "lane", 8.0, y + 26.0, "start", host);
            put(
                out,
                format_args!(
                    "<line class=\"rail\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
                    WIDTH - RIGHT,
                    y + 22.0,
                    y + 22.0
                ),
            );
        }
        self.windows(out);
        self.lease(out);
        self.canary(out);
        self.flags(out);
    }

    /// What was promised, behind what happened.
    fn windows(&self, out: &mut String) {
        for window in self.windows {
            let (from, to) = (self.x(number(window.from_ms)), self.x(number(window.to_ms)));
            for lane in (0..self.lanes.len()).filter(|lane| (*lane == 0) == window.host.is_some()) {
                put(
                    out,
                    format_args!(
                        "<rect class=\"window\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"34\" rx=\"3\"><title>{}</title></rect>",
                        self.y(lane) + 6.0,
                        (to - from).max(1.0),
                        super::html::escape(&window.text)
                    ),
                );
            }
        }
    }

    /// Of the host that fails: its lease, the time without one, and its next.
    fn lease(&self, out: &mut String) {
        let (y, end) = (self.y(0) + 12.0, self.at(Kind::LeaseEnd));
        let back =
            self.marks.iter().find(|mark| mark.text == "holds a lease again").map(|mark| number(mark.at_ms));
        let renewed = self.at(Kind::LastRenewal).or(end).unwrap_or(self.to_ms);
        let ended = end.unwrap_or(self.to_ms);
        self.bar(out, "lease", self.from_ms, renewed, y, "its lease, renewed");
        self.bar(out, "ending", renewed, ended, y, "its lease, not renewed any more");
        if end.is_some() {
            self.bar(out, "none", ended, back.unwrap_or(self.to_ms), y, "no lease");
        }
        if let Some(back) = back {
            self.bar(out, "lease", back, self.to_ms, y, "its next lease");
        }
    }

    /// Where the canary runs.
    fn canary(&self, out: &mut String) {
        let killed = self.at(Kind::Killed).unwrap_or(self.to_ms);
        self.bar(out, "canary", self.from_ms, killed, self.y(0) + 26.0, "the canary runs here");
        let restart = self.marks.iter().find(|mark| mark.kind == Kind::Restart);
        if let Some(mark) = restart
            && let Some(lane) = self.lanes.iter().position(|host| *host == mark.host)
        {
            self.bar(
                out,
                "canary",
                number(mark.at_ms),
                self.to_ms,
                self.y(lane) + 26.0,
                "the canary runs here",
            );
        }
    }

    fn bar(&self, out: &mut String, class: &str, from: f64, to: f64, y: f64, title: &str) {
        let (x, width) = (self.x(from), (self.x(to) - self.x(from)).max(0.0));
        put(
            out,
            format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"9\" rx=\"2\"><title>{}</title></rect>",
                super::html::escape(title)
            ),
        );
    }

    /// Each mark has a number: the list below has its words.
    fn flags(&self, out: &mut String) {
        let mut last: Vec<f64> = vec![f64::MIN; self.lanes.len()];
        for (number_of, mark) in (1..).zip(self.marks) {
            let Some(lane) = self.lanes.iter().position(|host| *host == mark.host) else { continue };
            let (x, y) = (self.x(number(mark.at_ms)), self.y(lane));
            let class = match mark.kind {
                Kind::Act | Kind::LeaseEnd | Kind::Killed => "bad",
                Kind::Clean | Kind::Proof | Kind::Restart | Kind::Back | Kind::Lease => "good",
                Kind::LastRenewal | Kind::Undone | Kind::Note => "plain",
            };
            // Numbers that would stand in one another move on.
            let at = x.max(last[lane] + 15.0);
            last[lane] = at;
            put(
                out,
                format_args!(
                    "<g class=\"{class}\"><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"7\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number_of}</text><title>{}: {}</title></g>",
                    y + 8.0,
                    y + 40.0,
                    y + 46.0,
                    y + 49.5,
                    signed(mark.at_ms),
                    super::html::escape(&mark.text)
                ),
            );
        }
    }

    fn axis(&self, out: &mut String) {
        let bottom = self.y(self.lanes.len());
        let steps = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];
        let span = (self.to_ms - self.from_ms) / 1000.0;
        let step = steps.into_iter().find(|step| span / step <= 12.0).unwrap_or(300.0);
        let mut at = (self.from_ms / 1000.0 / step).ceil() * step;
        while at * 1000.0 <= self.to_ms {
            let x = self.x(at * 1000.0);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>"
                ),
            );
            words(out, "tick", x, bottom + 16.0, "middle", &format!("{} s", at + 0.0));
            at += step;
        }
    }
}

fn words(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    put(
        out,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            super::html::escape(text)
        ),
    );
}

fn put(out: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(out, "{element}").ok();
}

/// Milliseconds of a drill are small numbers.
fn number(ms: i64) -> f64 {
    f64::from(i32::try_from(ms).unwrap_or(if ms < 0 { i32::MIN } else { i32::MAX }))
}

fn count(lanes: usize) -> f64 {
    f64::from(u32::try_from(lanes).unwrap_or(u32::MAX))
}
