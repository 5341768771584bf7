//! The body of a request: from the command line, standard input or a file.

use super::failure::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The most that any server can be configured to take (`limits.max_payload`); no use to read on.
const MOST: u64 = 64 << 20;

/// Where a body comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Text(String),
    Stdin,
    File(PathBuf),
}

impl Source {
    /// `-`, `@FILE`, `@@text` for a text that begins with `@`, or text.
    ///
    /// # Errors
    /// None; the type is what a parser of arguments has.
    pub(super) fn parse(text: &str) -> Result<Source, String> {
        Ok(match text.strip_prefix('@') {
            None if text == "-" => Source::Stdin,
            None => Source::Text(text.to_owned()),
            Some(rest) if rest.starts_with('@') => Source::Text(rest.to_owned()),
            Some("") => return Err("there is no file name after @; write @@ for an @".to_owned()),
            Some(path) => Source::File(path.into()),
        })
    }

    /// All of it.
    pub(super) fn read(self) -> Result<Vec<u8>, Failure> {
        let (name, read) = match self {
            Source::Text(text) => return Ok(text.into_bytes()),
            Source::Stdin => ("standard input".to_owned(), read(io::stdin().lock())),
            Source::File(path) => {
                let name = path.display().to_string();
                (name, File::open(path).and_then(read))
            }
        };
        let body = read.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
        if body.len() as u64 > MOST {
            let text =
                format!("{name} has more than {MOST} bytes (64MiB), the most a body can have");
            return Err(Failure::usage(text));
        }
        Ok(body)
    }
}

fn read(from: impl Read) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.take(MOST + 1).read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_give_a_body() {
        for (text, source) in [
            ("hello", Source::Text("hello".into())),
            ("", Source::Text(String::new())),
            ("--x", Source::Text("--x".into())),
            ("-", Source::Stdin),
            ("@body.json", Source::File("body.json".into())),
            ("@@ada", Source::Text("@ada".into())),
        ] {
            assert_eq!(Source::parse(text), Ok(source), "{text}");
        }
        assert!(Source::parse("@").is_err());
    }

    #[test]
    fn a_source_without_end_is_not_read_to_the_end() {
        let failure = Source::File("/dev/zero".into()).read().unwrap_err();
        assert!(failure.text.contains("64MiB"), "{}", failure.text);
    }
}
