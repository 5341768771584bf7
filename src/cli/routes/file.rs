//! A document from a file or standard input.

use super::MAX_DOCUMENT;
use crate::cli::admin::Failed;
use crate::cli::exit::Exit;
use std::fs::File;
use std::io::{self, Read};

/// What messages call it.
pub(super) fn shown(path: &str) -> &str {
    match path {
        "-" => "standard input",
        path => path,
    }
}

/// All of it.
///
/// # Errors
/// It cannot be read, or is larger than any server would take.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Failed> {
    let read = match path {
        "-" => bounded(io::stdin().lock()),
        path => File::open(path).and_then(bounded),
    };
    let shown = shown(path);
    let refused = |text| {
        Failed::new(
            Exit::Routes,
            "invalid",
            text,
            "nothing was sent: name a file that can be read",
        )
    };
    let text = read.map_err(|error| refused(format!("cannot read {shown}: {error}")))?;
    match text.len() > MAX_DOCUMENT {
        true => Err(refused(format!(
            "{shown} has more than {MAX_DOCUMENT} bytes (256MiB), the most that a server can be set to take"
        ))),
        false => Ok(text),
    }
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}
