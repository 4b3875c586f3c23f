//! What crosses a process: the integration tests of the workspace live in this crate.
