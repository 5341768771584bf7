//! Small files that are read again and again: tokens, certificates.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// What is wrong with it, by its name and without a byte of it.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let name = path.display();
    let failed = |error| format!("{name} cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() > most {
        true => Err(format!("{name} has more than {most} bytes")),
        false => Ok(bytes),
    }
}
