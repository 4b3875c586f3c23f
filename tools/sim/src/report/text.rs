//! A story as text: one column a host, the storage in the middle; or one line an event, for grep.

use crate::story::{Lane, Line, Story};
use crate::time::S;

/// All columns together are about so wide.
const WIDTH: usize = 158;
/// No column is narrower; with more hosts there are lines instead.
const NARROWEST: usize = 26;
const TIME: usize = 11;

/// Seconds with milliseconds.
#[must_use]
pub fn seconds(at: u64) -> String {
    let ms = at / 1_000_000;
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// What was told since this time, in columns; as lines where they would be too narrow. Renewals, of which there are many,
/// are told only where `routine` is asked for.
#[must_use]
pub fn columns(story: &Story, since: u64, routine: bool) -> String {
    let told = |line: &&Line| line.at >= since && (routine || line.event != "renewal");
    let lines: Vec<&Line> = story.lines().iter().filter(told).collect();
    let lanes = lanes(story, &lines);
    let width = WIDTH.saturating_sub(TIME) / lanes.len().max(1);
    if width < NARROWEST {
        return lines.iter().map(|line| line.text()).collect();
    }
    let names = lanes.iter().map(|lane| format!("{:<width$}", lane.name())).collect::<String>();
    let mut text = format!("{:>TIME$}  {}\n", "s", names.trim_end());
    let mut last = None;
    for line in lines {
        let Some(place) = lanes.iter().position(|lane| *lane == line.lane) else { continue };
        // A gap of more than a second is seen.
        if last.is_some_and(|last: u64| line.at - last > S) {
            text.push('\n');
        }
        last = Some(line.at);
        for (number, words) in
            wrap(&format!("{}: {}", line.event, line.text), width - 2).into_iter().enumerate()
        {
            let time = if number == 0 { seconds(line.at) } else { String::new() };
            text += &format!("{time:>TIME$}  {}{words}\n", " ".repeat(place * width));
        }
    }
    text
}

/// The lanes in which something happens: the first half of the hosts, the storage, the other hosts.
fn lanes(story: &Story, lines: &[&Line]) -> Vec<Lane> {
    let used = |host: &usize| lines.iter().any(|line| line.lane == Lane::Host(*host));
    let hosts: Vec<Lane> = (0..story.hosts).filter(used).map(Lane::Host).collect();
    let (left, right) = hosts.split_at(hosts.len().div_ceil(2));
    [left, &[Lane::Storage], right].concat()
}

/// Words in lines of at most `width` characters; a longer word is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: String = word.to_owned();
        while let Some(line) = lines.last_mut() {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.chars().count() <= width {
                line.push_str(&" ".repeat(gap));
                line.push_str(&word);
                break;
            }
            if used == 0 {
                let rest = word.chars().skip(width).collect();
                line.extend(word.chars().take(width));
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_column_and_the_storage_is_in_the_middle() {
        let mut story = Story::new(true, 2);
        story.tell(S, Lane::Host(1), "right", || "of it".to_owned());
        story.tell(S, Lane::Host(0), "left", || "of it".to_owned());
        story.tell(5 * S, Lane::Storage, "late", || "a write".to_owned());
        let text = columns(&story, 0, true);
        let place = |word: &str| text.lines().find_map(|line| line.find(word)).unwrap();
        assert!(place("left:") < place("late:") && place("late:") < place("right:"), "{text}");
        assert_eq!(place("left:"), place("host-0"), "{text}");
        assert!(text.contains("\n\n"), "a gap in time is seen: {text}");
        assert!(!columns(&story, 2 * S, true).contains("left"));
    }

    #[test]
    fn long_words_are_cut_and_nothing_is_lost() {
        assert_eq!(wrap("ab cdefghij k", 4), ["ab", "cdef", "ghij", "k"]);
    }
}
