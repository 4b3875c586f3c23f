//! From byte spans to lines and keys, so that an error can name both.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// The line of a byte offset, from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// The line on which a key stands (`["fence", "reset"]`), or its table, or the first.
pub(crate) fn line_of(text: &str, key: &[&str]) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 1 };
    let mut table = root.get_ref();
    let mut line = 1;
    for name in key {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref().as_ref() == *name) else { break };
        line = line_at(text, key.span().start);
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    line
}

/// The key whose value a span lies in, as `table.key`.
pub(crate) fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    key_in(root.get_ref(), span)
}

fn key_in(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(below) = key_in(inner, span)
        {
            return Some(format!("{name}.{below}"));
        }
        let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
        (holds(key.span()) || holds(value.span())).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "cluster = \"a\"\n\n[fence]\nreset = \"none\"\n";

    #[test]
    fn a_key_is_found_by_its_path_and_a_missing_one_by_its_table() {
        assert_eq!(line_of(TEXT, &["cluster"]), 1);
        assert_eq!(line_of(TEXT, &["fence", "reset"]), 4);
        assert_eq!(line_of(TEXT, &["fence", "on_unproven"]), 3);
        assert_eq!(line_of(TEXT, &["lease"]), 1);
    }

    #[test]
    fn a_span_names_its_key() {
        let at = TEXT.find("\"none\"").expect("it is there");
        assert_eq!(key_at(TEXT, &(at..at + 6)).as_deref(), Some("fence.reset"));
    }
}
