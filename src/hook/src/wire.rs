//! One question and its answer, over a Unix socket: a connection each. Numbers are little endian.
//!
//! ```text
//! question:  "leasefence-hook 1\n" | operation u8 | length u32, name | length u32, definition
//! answer:    0 allow, 1 deny, 2 deny for now; then, to the end of the stream, why
//! ```

use std::io::{self, Read, Write};

/// The socket's name within the run directory.
pub const SOCKET_NAME: &str = "hook.sock";

/// How a question begins. Another version of it is refused in words, and so denies.
const MAGIC: &[u8; 18] = b"leasefence-hook 1\n";
/// The longest name that is taken; libvirt makes files of it, so that it has less.
const LONGEST_NAME_BYTES: u32 = 4096;
/// The longest definition that is taken. Libvirt's own stay far below.
pub(crate) const LONGEST_DEFINITION_BYTES: u32 = 16 << 20;
/// The longest answer that is read.
const LONGEST_ANSWER_BYTES: u64 = 4096;

/// What libvirt is about to do with a domain, or has done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// `prepare begin`: it will be started.
    Prepare,
    /// `start begin`: QEMU is about to be run.
    Start,
    /// `started begin`: its CPUs run.
    Started,
    /// `migrate begin`: it is about to come in from another host.
    Migrate,
    /// `restore begin`: the start that follows is from a saved image.
    Restore,
    /// `release end`: its run, or a start that came to nothing, is over.
    Release,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Prepare, Self::Start, Self::Started, Self::Migrate, Self::Restore, Self::Release];

    /// What libvirt's arguments mean; none for what nobody needs to be asked about.
    #[must_use]
    pub fn of(operation: &str, phase: &str) -> Option<Self> {
        match (operation, phase) {
            ("prepare", "begin") => Some(Self::Prepare),
            ("start", "begin") => Some(Self::Start),
            ("started", "begin") => Some(Self::Started),
            ("migrate", "begin") => Some(Self::Migrate),
            ("restore", "begin") => Some(Self::Restore),
            ("release", "end") => Some(Self::Release),
            _ => None,
        }
    }

    /// True where libvirt goes by the answer.
    #[must_use]
    pub fn can_be_denied(self) -> bool {
        self != Self::Release
    }

    fn code(self) -> u8 {
        match self {
            Self::Prepare => 1,
            Self::Start => 2,
            Self::Started => 3,
            Self::Migrate => 4,
            Self::Release => 5,
            Self::Restore => 6,
        }
    }
}

/// Why a question or an answer cannot be read.
#[derive(Debug)]
pub enum WireError {
    /// The stream ended too early, or failed.
    Io(io::Error),
    /// What was read is none.
    Malformed(&'static str),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for WireError {}

const TOO_LONG: WireError = WireError::Malformed("its name or definition is longer than any domain's");

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the hook asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// What libvirt does.
    pub operation: Operation,
    /// The domain's name, as libvirt gave it in the arguments.
    pub name: Vec<u8>,
    /// The domain's definition, as libvirt gave it on stdin.
    pub definition: Vec<u8>,
}

impl Question {
    /// Writes it.
    ///
    /// # Errors
    /// When the stream fails, or name or definition is too long.
    pub fn write(&self, to: &mut impl Write) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(self.definition.len() + self.name.len() + 32);
        bytes.extend_from_slice(MAGIC);
        bytes.push(self.operation.code());
        put(&mut bytes, &self.name, LONGEST_NAME_BYTES)?;
        put(&mut bytes, &self.definition, LONGEST_DEFINITION_BYTES)?;
        Ok(to.write_all(&bytes)?)
    }

    /// How many bytes must follow these at least; none when these are one whole question.
    ///
    /// # Errors
    /// When no question begins like this.
    pub fn missing(bytes: &[u8]) -> Result<usize, WireError> {
        let mut needed = MAGIC.len() + 1;
        for longest in [LONGEST_NAME_BYTES, LONGEST_DEFINITION_BYTES] {
            let length = bytes.get(needed..needed + 4).and_then(|length| length.try_into().ok());
            needed += 4;
            let Some(length) = length.map(u32::from_le_bytes) else { break };
            if length > longest {
                return Err(TOO_LONG);
            }
            needed += usize::try_from(length).map_err(|_| TOO_LONG)?;
        }
        Ok(needed.saturating_sub(bytes.len()))
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the stream ends before it does, or what comes is none.
    pub fn read(from: &mut impl Read) -> Result<Self, WireError> {
        let mut head = [0; MAGIC.len() + 1];
        from.read_exact(&mut head)?;
        let (magic, code) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(WireError::Malformed("the hook is of another version than the agent"));
        }
        let operation = Operation::ALL.into_iter().find(|operation| [operation.code()] == *code);
        let operation = operation.ok_or(WireError::Malformed("it asks about an unknown operation"))?;
        let name = take(from, LONGEST_NAME_BYTES)?;
        let definition = take(from, LONGEST_DEFINITION_BYTES)?;
        Ok(Self { operation, name, definition })
    }
}

fn put(bytes: &mut Vec<u8>, part: &[u8], longest: u32) -> Result<(), WireError> {
    let length = u32::try_from(part.len()).ok().filter(|length| *length <= longest);
    let length = length.ok_or(TOO_LONG)?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(part);
    Ok(())
}

fn take(from: &mut impl Read, longest: u32) -> Result<Vec<u8>, WireError> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > longest {
        return Err(TOO_LONG);
    }
    // Grows as bytes come: a length alone makes nobody allocate.
    let mut part = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut part)?;
    if u32::try_from(part.len()) != Ok(length) {
        return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(part)
}

/// What the agent answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Go on.
    Allow,
    /// Do not, and why.
    Deny(String),
    /// Do not now, and why: this host is on its way to its lease, and what starts by itself is started again then.
    DenyForNow(String),
}

impl Answer {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (code, why) = match self {
            Self::Allow => (0, ""),
            Self::Deny(why) => (1, why.as_str()),
            Self::DenyForNow(why) => (2, why.as_str()),
        };
        [&[code], why.as_bytes()].concat()
    }

    /// Reads one, to the end of the stream.
    ///
    /// # Errors
    /// When the stream fails, or ends without an answer: then nobody has allowed anything.
    pub fn read(from: &mut impl Read) -> Result<Self, WireError> {
        let mut bytes = Vec::new();
        from.take(LONGEST_ANSWER_BYTES).read_to_end(&mut bytes)?;
        let (code, why) = bytes.split_first().ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let why = || String::from_utf8_lossy(why).into_owned();
        match code {
            0 if bytes.len() == 1 => Ok(Self::Allow),
            1 => Ok(Self::Deny(why())),
            2 => Ok(Self::DenyForNow(why())),
            _ => Err(WireError::Malformed("the agent's answer is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question { operation: Operation::Prepare, name: b"web-1".to_vec(), definition: b"<domain/>".to_vec() }
    }

    #[test]
    fn a_question_is_read_as_it_was_written_for_every_operation() {
        for operation in Operation::ALL {
            let question = Question { operation, ..question() };
            let mut bytes = Vec::new();
            question.write(&mut bytes).expect("a vector takes it");
            assert_eq!(Question::read(&mut bytes.as_slice()).expect("it is one"), question);
        }
    }

    #[test]
    fn a_question_that_ends_early_at_any_byte_is_none() {
        let mut bytes = Vec::new();
        question().write(&mut bytes).expect("a vector takes it");
        for end in 0..bytes.len() {
            assert!(Question::read(&mut &bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn what_is_missing_leads_to_the_whole_question_and_no_further() {
        let mut bytes = Vec::new();
        question().write(&mut bytes).expect("a vector takes it");
        let mut have = 0;
        while let missing @ 1.. = Question::missing(&bytes[..have]).expect("it begins well") {
            have += missing;
        }
        assert_eq!(have, bytes.len());
    }

    #[test]
    fn a_length_beyond_any_definition_is_refused_before_anything_is_read() {
        let mut bytes = Vec::new();
        question().write(&mut bytes).expect("a vector takes it");
        let at = MAGIC.len() + 1 + 4 + 5;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Question::read(&mut bytes.as_slice()), Err(WireError::Malformed(_))));
        let long = Question { definition: vec![b' '; 17 << 20], ..question() };
        assert!(long.write(&mut Vec::new()).is_err());
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for answer in
            [Answer::Allow, Answer::Deny("busy: host-2 owns it".into()), Answer::DenyForNow("joining".into())]
        {
            assert_eq!(Answer::read(&mut answer.to_bytes().as_slice()).expect("it is one"), answer);
        }
    }

    /// Catches: an agent that dies before it answers, or answers in another way, taken for a permission.
    #[test]
    fn only_a_single_zero_allows() {
        for bytes in [&b""[..], b"\0text", b"\x03", b"allow"] {
            assert!(Answer::read(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
