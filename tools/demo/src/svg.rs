//! The stories as one picture: a panel each, a lane for each host and one for the guest's disk.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use crate::story::{Event, Kind, Story, clock};
use crate::witness::Sight;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 24.0;
const TITLE: f64 = 52.0;
const LANE: f64 = 46.0;
const DISK_LANE: f64 = 40.0;
const AXIS: f64 = 34.0;
const CALLOUT: f64 = 17.0;
const GAP: f64 = 26.0;

/// Readable on white and on black: the colours follow the reader's theme.
const STYLE: &str = "
  .paper{fill:#ffffff} text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}
  .title{font-size:15px;font-weight:600} .small{font-size:11px;fill:#59636e} .name{font-weight:600}
  .grid{stroke:#d1d9e0;stroke-width:1} .off{fill:#eff2f5;stroke:#b7bfc7;stroke-dasharray:3 3}
  .lease{fill:#54aeff} .ending{fill:#b6e3ff} .guest{fill:#1a7f37}
  .w1{stroke:#0969da} .w2{stroke:#8250df} .w3{stroke:#bf3989} .write{stroke-width:1.5}
  .fault{stroke:#cf222e;stroke-width:2} .faultmark{fill:#cf222e} .verdict{stroke:#9a6700;stroke-width:2} .verdictmark{fill:#9a6700}
  .span{stroke:#59636e;stroke-width:1} .silence{fill:#ffebe9}
  @media (prefers-color-scheme: dark){
  .paper{fill:#0d1117} text{fill:#e6edf3} .small{fill:#9198a1} .grid{stroke:#30363d} .off{fill:#161b22;stroke:#4b535d}
  .lease{fill:#1f6feb} .ending{fill:#0c2d6b} .guest{fill:#3fb950}
  .w1{stroke:#58a6ff} .w2{stroke:#bc8cff} .w3{stroke:#ff7bc8}
  .fault{stroke:#f85149} .faultmark{fill:#f85149} .verdict{stroke:#d29922} .verdictmark{fill:#d29922}
  .span{stroke:#9198a1} .silence{fill:#3c1618}}
";

/// Draws all stories, one below the other.
#[must_use]
pub fn draw(stories: &[Story]) -> String {
    let mut panels = String::new();
    let mut top = GAP;
    for story in stories {
        let panel = Panel::new(story, top);
        panel.draw(&mut panels);
        top += panel.height() + GAP;
    }
    let height = top + 22.0;
    let legend = legend(height - 14.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Failovers, measured\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{panels}{legend}</svg>\n"
    )
}

fn legend(y: f64) -> String {
    let mut out = String::new();
    let mut x = LEFT;
    for (class, text) in [
        ("lease", "lease, renewed"),
        ("ending", "lease, not renewed any more"),
        ("guest", "guest runs"),
        ("off", "no lease"),
        ("silence", "no writes"),
    ] {
        rect(&mut out, class, x, y - 9.0, 18.0, 10.0);
        text_at(&mut out, "small", x + 24.0, y, "start", text);
        x += 60.0 + width_of(text);
    }
    out
}

/// One story's panel.
struct Panel<'a> {
    story: &'a Story,
    top: f64,
    from: SystemTime,
    span: Duration,
}

impl<'a> Panel<'a> {
    fn new(story: &'a Story, top: f64) -> Self {
        let (before, after) = (Duration::from_secs(1), Duration::from_millis(300));
        let first = story.events.first().map_or(SystemTime::UNIX_EPOCH, |event| event.at);
        let last = story.events.last().map_or(first, |event| event.at);
        let from = first - before;
        let span = (last + after).duration_since(from).unwrap_or(before);
        Self { story, top, from, span }
    }

    fn height(&self) -> f64 {
        let rows = f64::from(u32::try_from(self.story.events.len()).unwrap_or(0));
        self.disk_y() + DISK_LANE + AXIS + CALLOUT * rows - self.top
    }

    fn lane_y(&self, index: usize) -> f64 {
        self.top + TITLE + LANE * f64::from(u32::try_from(index).unwrap_or(0))
    }

    fn disk_y(&self) -> f64 {
        self.lane_y(self.story.hosts.len())
    }

    fn x(&self, at: SystemTime) -> f64 {
        let share = at.duration_since(self.from).unwrap_or_default().as_secs_f64() / self.span.as_secs_f64();
        LEFT + (WIDTH - LEFT - RIGHT) * share.clamp(0.0, 1.0)
    }

    fn end(&self) -> SystemTime {
        self.from + self.span
    }

    fn draw(&self, out: &mut String) {
        let title = format!("({}) {}", self.story.letter, self.story.title);
        text_at(out, "title", 12.0, self.top + 14.0, "start", &title);
        text_at(out, "small", 12.0, self.top + 32.0, "start", &self.figures());
        self.axis(out);
        self.silence(out);
        for (index, host) in self.story.hosts.iter().enumerate() {
            text_at(out, "name", 12.0, self.lane_y(index) + 22.0, "start", host);
            self.lease_bars(out, index, host);
            self.guest_bars(out, index, host);
        }
        text_at(out, "name", 12.0, self.disk_y() + 20.0, "start", "disk");
        self.writes(out);
        self.marks(out);
    }

    fn figures(&self) -> String {
        let story = self.story;
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let measured = match story.between(Kind::LastRenewal, Kind::Verdict) {
            Some(takeover) => format!(
                "last renewal to verdict {}, stall survived {}: {:.2}",
                seconds(takeover),
                seconds(story.stall_survived),
                takeover.as_secs_f64() / story.stall_survived.as_secs_f64()
            ),
            None => {
                format!(
                    "request to proof {}",
                    story.between(Kind::Fault, Kind::Verdict).map_or_else(String::new, seconds)
                )
            }
        };
        let silence =
            story.silence().map_or_else(String::new, |time| format!("; no writes for {}", seconds(time)));
        format!("{measured}{silence}; {}", story.judgement)
    }

    /// A line each second's multiple, so that no more than about 14 of them stand in the picture.
    fn axis(&self, out: &mut String) {
        let bottom = self.disk_y() + DISK_LANE;
        let zero = self.story.zero();
        let total = self.span.as_secs();
        let step = [1, 2, 5, 10, 20, 60].into_iter().find(|step| total / step <= 14).unwrap_or(120);
        let mut at = zero;
        let mut seconds = 0;
        while at < self.end() {
            let x = self.x(at);
            line(out, "grid", x, self.top + TITLE - 8.0, x, bottom);
            text_at(out, "small", x, bottom + 14.0, "middle", &format!("{seconds} s"));
            at += Duration::from_secs(step);
            seconds += step;
        }
        text_at(out, "small", 12.0, bottom + 14.0, "start", &clock(zero)[..8]);
    }

    fn silence(&self, out: &mut String) {
        let (Some(first), Some(silence)) = (self.story.at(Kind::FirstWrite), self.story.silence()) else {
            return;
        };
        let (from, to) = (self.x(first - silence), self.x(first));
        rect(out, "silence", from, self.disk_y() + 4.0, to - from, DISK_LANE - 12.0);
    }

    /// A host's lease: the victim's ends, and begins anew with its return, unless it survives the story.
    fn lease_bars(&self, out: &mut String, index: usize, host: &str) {
        let y = self.lane_y(index) + 6.0;
        let mut bar = |class: &str, from: SystemTime, to: SystemTime| {
            rect(out, class, self.x(from), y, (self.x(to) - self.x(from)).max(0.0), 8.0);
        };
        let story = self.story;
        let fenced = [Kind::LastRenewal, Kind::LeaseEnd, Kind::GuestKilled, Kind::Rejoined];
        if host != story.victim || fenced.iter().all(|kind| story.at(*kind).is_none()) {
            return bar("lease", self.from, self.end());
        }
        let renewed =
            story.at(Kind::LastRenewal).or_else(|| story.at(Kind::GuestKilled)).unwrap_or(self.from);
        let ended = story.at(Kind::LeaseEnd).or_else(|| story.at(Kind::GuestKilled)).unwrap_or(renewed);
        let back = story.at(Kind::Rejoined).unwrap_or_else(|| self.end());
        bar("lease", self.from, renewed);
        bar("ending", renewed, ended);
        bar("off", ended, back);
        bar("lease", back, self.end());
    }

    /// The guest's processes on a host. One that was there before the story has no beginning in it.
    fn guest_bars(&self, out: &mut String, index: usize, host: &str) {
        let mut since = (host == self.story.victim).then_some(self.from);
        let mut bars = Vec::new();
        for (at, sight) in &self.story.seen {
            match sight {
                Sight::Started(name) if name == host => since = Some(*at),
                Sight::Ended(name) if name == host => bars.extend(since.take().map(|from| (from, *at))),
                _ => {}
            }
        }
        bars.extend(since.map(|from| (from, self.end())));
        for (from, to) in bars {
            rect(out, "guest", self.x(from), self.lane_y(index) + 18.0, self.x(to) - self.x(from), 14.0);
        }
    }

    /// Each write that reached the disk, in the colour of its host; a burst is one line.
    fn writes(&self, out: &mut String) {
        let y = self.disk_y();
        let mut drawn = (0, 0.0);
        for (at, sight) in &self.story.seen {
            let Sight::Write(record) = sight else { continue };
            if *at > self.end() {
                break;
            }
            let number = self.story.hosts.iter().position(|host| *host == record.host).unwrap_or(0) + 1;
            let x = self.x(*at);
            if drawn.0 == number && x - drawn.1 < 0.5 {
                continue;
            }
            drawn = (number, x);
            line(out, &format!("write w{number}"), x, y + 6.0, x, y + DISK_LANE - 12.0);
        }
    }

    /// Each event: a mark in its host's lane, and a line of text below the axis, joined by a number.
    fn marks(&self, out: &mut String) {
        for (number, event) in self.story.events.iter().enumerate() {
            let (x, y) = (self.x(event.at), self.lane_y(self.lane_of(event)) + 2.0);
            let class = match event.kind {
                Kind::Fault | Kind::GuestKilled | Kind::LeaseEnd => "fault",
                _ => "verdict",
            };
            line(out, class, x, y, x, y + LANE - 12.0);
            self.caption(out, number, event);
        }
        for (x, lane, label) in self.labels() {
            text_at(out, "small", x + 3.0, self.lane_y(lane) + LANE - 3.0, "start", &label);
        }
    }

    fn lane_of(&self, event: &Event) -> usize {
        self.story.hosts.iter().position(|host| *host == event.host).unwrap_or(0)
    }

    /// Numbers of marks that stand too close together share one label at the first of them.
    fn labels(&self) -> Vec<(f64, usize, String)> {
        let mut labels: Vec<(f64, usize, String)> = Vec::new();
        for (number, event) in (1..).zip(&self.story.events) {
            let (x, lane) = (self.x(event.at), self.lane_of(event));
            match labels.iter_mut().rfind(|label| label.1 == lane) {
                Some((first, _, label)) if x - *first < 8.0 + width_of(label) => {
                    *label = format!("{label} {number}");
                }
                _ => labels.push((x, lane, number.to_string())),
            }
        }
        labels
    }

    fn caption(&self, out: &mut String, number: usize, event: &Event) {
        let row = f64::from(u32::try_from(number).unwrap_or(0));
        let y = self.disk_y() + DISK_LANE + AXIS + CALLOUT * row;
        let since = crate::story::signed_seconds(event.at, self.story.zero());
        text_at(out, "small", LEFT, y, "end", &(number + 1).to_string());
        text_at(out, "small", LEFT + 70.0, y, "end", &since);
        text_at(out, "small", LEFT + 84.0, y, "start", &format!("{}: {}", event.host, event.text));
    }
}

fn width_of(text: &str) -> f64 {
    6.0 * f64::from(u32::try_from(text.chars().count()).unwrap_or(0))
}

fn rect(out: &mut String, class: &str, x: f64, y: f64, width: f64, height: f64) {
    put(
        out,
        format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\"/>"
        ),
    );
}

fn line(out: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    put(
        out,
        format_args!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"),
    );
}

fn text_at(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    put(
        out,
        format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ),
    );
}

/// Writing to a string cannot fail.
fn put(out: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(out, "{element}").ok();
}
