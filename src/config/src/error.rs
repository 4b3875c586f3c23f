//! Why a configuration is refused: file, line, key, what is wrong, and what is allowed.

use std::io;
use std::path::PathBuf;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "reading the configuration {}: {source}; write one (leasefence.toml(5) explains every key), or name another \
         with --config",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown or missing, or a value is of the wrong form.
    #[error("{}, line {line}{}: {problem}", path.display(), key.as_deref().map(|key| format!(", `{key}`")).unwrap_or_default())]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, when the error is about one.
        key: Option<String>,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// The values do not fit together.
    #[error("{}, line {line}, `{key}`: {problem}; {allowed}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
        /// What is allowed.
        allowed: String,
    },
    /// The timing is unsafe: each sentence is a bound that does not hold.
    #[error("{}: this timing is unsafe, and refused:\n  {}", path.display(), refusals.join("\n  "))]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// The bounds that do not hold.
        refusals: Vec<String>,
    },
}
