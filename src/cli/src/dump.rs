//! `leasefence dump`: the whole of a lease file, in words or as JSON, whatever state it is in.

mod json;
mod words;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use leasefence_core::format::Unit;
use leasefence_core::format::dump::{Item, Shape, Summary, dump};

use crate::medium::{Medium, Mode};
use crate::outcome::{CliError, Exit, Outcome};

/// What is said below the options.
const AFTER: &str = "\
Exit code 0: everything is whole. 1: something is damaged, or could not be read; each such place is named. A file in use \
may show a sector that is just being written. With both headers gone, --max-hosts, --pages and --sector-size tell how it \
was made, so that every place is named; without them, all sectors that still say what they are are listed.";

/// `leasefence dump`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(crate) struct DumpArgs {
    /// The lease file or block device. It is only read.
    pub(crate) path: PathBuf,
    /// As JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
    /// How many hosts it was made for, if both its headers are gone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) max_hosts: Option<u16>,
    /// How many pages it was made with, if both its headers are gone.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=16), requires = "max_hosts")]
    pub(crate) pages: u8,
    /// With which sector size it was made, if both its headers are gone.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, requires = "max_hosts")]
    pub(crate) sector_size: u32,
}

/// Decodes the file.
pub(crate) fn run(args: &DumpArgs) -> Outcome {
    let medium = open(&args.path)?;
    let shape = shape(args)?;
    if !medium.is_direct() {
        eprintln!(
            "leasefence: {} lies on a file system without direct I/O: this may be an old picture of it",
            args.path.display()
        );
    }
    let summary = if args.json { in_json(&medium, shape)? } else { in_words(&medium, shape)? };
    Ok(if summary.is_well() { Exit::Done } else { Exit::Failed })
}

/// Opens a lease file or device for reading.
pub(crate) fn open(path: &Path) -> Result<Medium, CliError> {
    let metadata = std::fs::metadata(path);
    if metadata.is_ok_and(|it| it.is_dir()) {
        return Err(CliError::Other(format!("{} is a directory: name the lease file in it", path.display())));
    }
    Medium::open(path, Mode::Read).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": is the storage mounted?",
            io::ErrorKind::PermissionDenied => ": run this as root",
            _ => "",
        };
        CliError::Other(format!("opening {}: {error}{hint}", path.display()))
    })
}

fn shape(args: &DumpArgs) -> Result<Option<Shape>, CliError> {
    let unit = Unit::from_len_bytes(args.sector_size).ok_or_else(|| {
        CliError::Other(format!("the sector size is 512 or 4096, not {}", args.sector_size))
    })?;
    Ok(args.max_hosts.map(|max_hosts| Shape { unit, max_hosts, pages: args.pages }))
}

/// Hands every sector of it to `sink`.
pub(crate) fn decode(medium: &Medium, shape: Option<Shape>, sink: &mut dyn FnMut(Item)) -> Summary {
    let mut read = |offset, len| medium.read(offset, len).map_err(|error| error.to_string());
    dump(medium.size(), shape, &mut read, sink)
}

fn in_words(medium: &Medium, shape: Option<Shape>) -> Result<Summary, CliError> {
    let mut printer = words::Printer::new(Output::new());
    let summary = decode(medium, shape, &mut |item| printer.item(&item));
    let mut output = printer.end();
    output.line(&words::summary(medium, &summary));
    output.end().map(|()| summary)
}

/// One object with an array of all sectors, written as they come.
fn in_json(medium: &Medium, shape: Option<Shape>) -> Result<Summary, CliError> {
    let mut output = Output::new();
    let mut before = "\n";
    let path = serde_json::to_string(&medium.path().to_string_lossy()).map_err(CliError::from_display)?;
    output.text(&format!("{{\"path\":{path},\"direct\":{},\"sectors\":[", medium.is_direct()));
    let summary = decode(medium, shape, &mut |item| {
        output.text(&format!("{before}{}", json::item(&item)));
        before = ",\n";
    });
    output.line(&format!("\n],\"summary\":{}}}", json::summary(&summary)));
    output.end().map(|()| summary)
}

/// Standard output, which may end before the dump does: `leasefence dump … | head` is no crash.
struct Output {
    stdout: io::BufWriter<io::Stdout>,
    error: Option<io::Error>,
}

impl Output {
    fn new() -> Self {
        Self { stdout: io::BufWriter::new(io::stdout()), error: None }
    }

    fn text(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = self.stdout.write_all(text.as_bytes()).err();
        }
    }

    fn line(&mut self, line: &str) {
        self.text(line);
        self.text("\n");
    }

    fn end(mut self) -> Result<(), CliError> {
        let error = self.error.take().or_else(|| self.stdout.flush().err());
        match error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::Other(format!("writing the dump: {error}")))
            }
            _ => Ok(()),
        }
    }
}
