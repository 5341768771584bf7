//! Tokens, from files and the environment: never from the command line, which everyone on the machine
//! can read.

use super::peer::env;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest file with a token; a longer one is not a token.
const MAX_TOKEN: usize = 4096;

/// The token in a file, or else in an environment variable; the words for what is wrong never hold it.
pub(super) fn token(file: Option<&Path>, variable: &str) -> Result<Option<String>, String> {
    let (text, from) = match (file, env(variable)) {
        (Some(path), _) => (read(path)?, path.display().to_string()),
        (None, Some(text)) => (text, variable.to_owned()),
        (None, None) => return Ok(None),
    };
    let text = text.trim();
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(text.to_owned())),
        // The text itself is never shown: it may be all of a secret but for one character.
        false => Err(format!(
            "{from} does not hold a token: one line of ASCII without spaces"
        )),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let unreadable = |error| format!("cannot read the token in {name}: {error}");
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MAX_TOKEN as u64 + 1).read_to_string(&mut text);
    read.map_err(unreadable)?;
    match text.len() > MAX_TOKEN {
        true => Err(format!(
            "{name} has more than {MAX_TOKEN} bytes, which is no token"
        )),
        false => Ok(text),
    }
}
