//! Finding the lease file's header: the first 4096 bytes, and the copy in the file's last 4096 bytes, which is sought
//! at each MiB boundary when the first is damaged. It only reads.

use crate::format::{DecodeError, Header, MIB, SECTOR_LEN};
use crate::storage::{IoDone, IoError, IoOp, Step};

/// No lease file is larger than this many MiB: where the search for the last header ends.
const LARGEST_MIB: u64 = 64;

/// The header, and what an operator should know of its copies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderFound {
    /// The header.
    pub header: Header,
    /// A sentence when one of the two copies is damaged.
    pub warning: Option<String>,
}

/// Why there is no header to go by.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file holds nothing.
    #[error("the lease file was never initialised (it begins with zeros): run `leasefence init` on it once")]
    NeverWritten,
    /// Neither copy is whole.
    #[error(
        "both headers of the lease file are damaged (at byte 0: {first}; none at its end): is this the right path?"
    )]
    BothDamaged {
        /// What is wrong with the first.
        first: DecodeError,
    },
    /// Two whole headers that say different things.
    #[error(
        "the two headers of the lease file differ: it was overwritten in part by another one; restore one of them"
    )]
    Differ,
    /// The file ends before the header says that it does.
    #[error("the lease file is {got} bytes long, and its header says {want}: it was truncated")]
    Truncated {
        /// Its length.
        got: u64,
        /// What the header says.
        want: u64,
    },
    /// It could not be read.
    #[error("reading the lease file's header at byte {offset} failed: {error}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        error: IoError,
    },
}

/// The search under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderRead {
    size: u64,
    first: Option<Result<Header, DecodeError>>,
    /// MiB boundary that is tried next, when the first is damaged.
    boundary: u64,
    outcome: Option<Result<HeaderFound, HeaderError>>,
}

impl HeaderRead {
    /// A search in a file of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, first: None, boundary: 1, outcome: None }
    }

    /// What it needs next, or what it found.
    #[must_use]
    pub fn poll(&self) -> Step<Result<HeaderFound, HeaderError>> {
        match &self.outcome {
            Some(outcome) => Step::Done(outcome.clone()),
            None => Step::Io(IoOp::Read { offset: self.offset(), len: SECTOR_LEN }),
        }
    }

    /// The end of the read that `poll` asked for.
    pub fn handle_io(&mut self, done: &IoDone) {
        let offset = self.offset();
        let bytes = match &done.result {
            Ok(bytes) => bytes,
            Err(error) => {
                self.outcome = Some(Err(HeaderError::Io { offset, error: error.clone() }));
                return;
            }
        };
        let decoded = Header::decode(offset, bytes);
        match self.first.clone() {
            None => self.take_first(decoded),
            Some(Ok(first)) => self.outcome = Some(compare(first, decoded)),
            Some(Err(first)) => self.take_sought(&first, decoded),
        }
    }

    fn offset(&self) -> u64 {
        match &self.first {
            None => 0,
            Some(Ok(header)) => header.layout.last_header().offset,
            Some(Err(_)) => self.boundary * MIB - SECTOR_LEN as u64,
        }
    }

    fn take_first(&mut self, decoded: Result<Header, DecodeError>) {
        if let Ok(header) = &decoded {
            let want = header.layout.total_size();
            if self.size < want {
                self.outcome = Some(Err(HeaderError::Truncated { got: self.size, want }));
            }
        }
        self.first = Some(decoded);
        self.end_search_at_the_files_end();
    }

    fn take_sought(&mut self, first: &DecodeError, decoded: Result<Header, DecodeError>) {
        if let Ok(header) = decoded {
            let warning =
                Some(format!("the lease file's first header is damaged ({first}); its last one is used"));
            self.outcome = Some(Ok(HeaderFound { header, warning }));
            return;
        }
        self.boundary += 1;
        self.end_search_at_the_files_end();
    }

    fn end_search_at_the_files_end(&mut self) {
        if let Some(Err(first)) = &self.first
            && (self.boundary * MIB > self.size || self.boundary > LARGEST_MIB)
        {
            let error = match first {
                DecodeError::Empty => HeaderError::NeverWritten,
                first => HeaderError::BothDamaged { first: first.clone() },
            };
            self.outcome = Some(Err(error));
        }
    }
}

fn compare(first: Header, last: Result<Header, DecodeError>) -> Result<HeaderFound, HeaderError> {
    match last {
        Ok(last) if last != first => Err(HeaderError::Differ),
        Ok(_) => Ok(HeaderFound { header: first, warning: None }),
        Err(error) => {
            let warning =
                Some(format!("the lease file's last header is damaged ({error}); its first one is used"));
            Ok(HeaderFound { header: first, warning })
        }
    }
}
