//! The elements of a picture: bars, marks and words with tooltips. It knows nothing of hosts.

use std::fmt::Write;

/// Readable on white and on black: the colours follow the reader's theme.
const STYLE: &str = "
.paper{fill:#fff} text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600} .small{font-size:11px;fill:#59636e} .tiny{font-size:9px;fill:#59636e} .name{font-weight:600} .inside{font-size:7px;fill:#fff}
.grid{stroke:#d1d9e0} .edge{stroke:#d1d9e0} .on{fill:#f6f8fa} .still{fill:#d8dee4}
.agent{fill:#8c959f} .fencer{fill:#6e7781} .stopped{fill:#fff;stroke:#8c959f;stroke-dasharray:2 2} .lease{fill:#2da44e} .latched{fill:#bf8700}
.cut{fill:#cf222e} .killed{fill:#fff;stroke:#cf222e} .tail{fill:#ffb3b8} .storage{fill:#f6f8fa}
.d0{fill:#0969da} .d1{fill:#8250df} .d2{fill:#1b7c83} .d3{fill:#bc4c00} .d4{fill:#bf3989} .d5{fill:#4d2d00} .d6{fill:#116329} .d7{fill:#57606a}
.mark{fill:#59636e} .fault{fill:#cf222e} .verdict{fill:#9a6700} .kill{fill:#a40e26} .latch{fill:#bf8700} .late{fill:#8250df} .other{fill:#afb8c1}
.violation{stroke:#ff0000;stroke-width:2}
@media (prefers-color-scheme: dark){
.paper{fill:#0d1117} text{fill:#e6edf3} .small,.tiny{fill:#9198a1} .grid,.edge{stroke:#30363d} .on,.storage{fill:#161b22} .still{fill:#30363d}
.agent{fill:#6e7681} .fencer{fill:#8b949e} .stopped{fill:#0d1117;stroke:#8b949e} .lease{fill:#3fb950} .latched{fill:#d29922}
.cut{fill:#f85149} .killed{fill:#0d1117;stroke:#f85149} .tail{fill:#8e1519} .inside{fill:#0d1117}
.d0{fill:#58a6ff} .d1{fill:#bc8cff} .d2{fill:#39c5cf} .d3{fill:#f0883e} .d4{fill:#ff7bc8} .d5{fill:#d4a72c} .d6{fill:#56d364} .d7{fill:#8b949e}
.mark{fill:#9198a1} .fault{fill:#f85149} .verdict{fill:#e3b341} .kill{fill:#ff7b72} .latch{fill:#d29922} .late{fill:#bc8cff} .other{fill:#484f58}
.violation{stroke:#ff4d4d}}
";

/// A picture under way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    /// A bar with a tooltip.
    pub(super) fn bar(&mut self, class: &str, (x, y, width, height): (f64, f64, f64, f64), title: &str) {
        let (width, title) = (width.max(0.5), escape(title));
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{title}</title></rect>"
        ));
    }

    /// A flag: a triangle that points at its time, with a tooltip.
    pub(super) fn flag(&mut self, class: &str, x: f64, y: f64, title: &str) {
        let (left, right, top, title) = (x - 4.0, x + 4.0, y - 7.0, escape(title));
        self.put(format_args!(
            "<path class=\"{class}\" d=\"M{x:.1} {y:.1}L{left:.1} {top:.1}L{right:.1} {top:.1}Z\"><title>{title}</title></path>"
        ));
    }

    /// A line.
    pub(super) fn line(&mut self, class: &str, (x1, y1, x2, y2): (f64, f64, f64, f64), title: &str) {
        let title =
            if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\">{title}</line>"
        ));
    }

    /// Words.
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// The whole file.
    pub(super) fn finish(self, width: f64, height: f64, label: &str) -> String {
        let (body, label) = (self.body, escape(label));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n\
             <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>\n{body}</svg>\n"
        )
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        let written = writeln!(self.body, "{element}");
        debug_assert!(written.is_ok());
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// About how wide words are.
pub(super) fn width_of(text: &str) -> f64 {
    6.2 * number(text.chars().count())
}

/// A small number.
pub(super) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
