//! What requests and connections are made with that stands in files: certificates, and values of headers.

use super::settings::{HeaderSource, HttpSettings, HttpVersion};
use crate::handler::TlsSettings;
use crate::handler::fresh::{Contents, Fresh, Source};
use crate::tls::{self, ClientFiles};
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Instant;

/// The longest value of a header that is taken from a file: half of what most servers take of all of them.
const MAX_VALUE: usize = 8 << 10;

/// Headers of every request.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

/// What is made of files, as they are now.
pub(super) struct Files {
    headers: Arc<Fresh<Headers>>,
    tls: Option<Arc<Fresh<ClientConfig>>>,
}

impl Files {
    /// Reads them, which may block.
    ///
    /// # Errors
    /// What is wrong with one, by its key.
    pub(super) fn new(handler: &str, settings: &HttpSettings) -> Result<Files, String> {
        let tls = settings.tls.as_ref();
        let tls = tls
            .map(|tls| client(handler, tls, settings.version))
            .transpose()?;
        Ok(Files {
            headers: headers(handler, settings)?,
            tls,
        })
    }

    /// The headers of every request.
    pub(super) fn headers(&self) -> impl std::ops::Deref<Target = Arc<Headers>> {
        self.headers.now()
    }

    /// What a handshake goes by, where the URL is for TLS.
    pub(super) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.as_ref().map(|tls| Arc::clone(&tls.now()))
    }

    /// Has them looked at, if it is time.
    pub(super) fn look(&self, now: Instant) {
        self.headers.look(now);
        if let Some(tls) = &self.tls {
            tls.look(now);
        }
    }
}

fn headers(handler: &str, settings: &HttpSettings) -> Result<Arc<Fresh<Headers>>, String> {
    let mut sources = Vec::new();
    for (name, source) in &settings.headers {
        if let HeaderSource::File { path, .. } = source {
            sources.push(Source {
                key: format!("headers: {name}"),
                path: path.clone(),
                max_bytes: MAX_VALUE,
            });
        }
    }
    let written = settings.headers.clone();
    let make = move |contents: &Contents| {
        let mut contents = contents.iter();
        let made = written.iter().map(|(name, source)| {
            let value = match source {
                HeaderSource::Written(value) => value.clone(),
                HeaderSource::File { prefix, .. } => {
                    let bytes = contents.next().map_or(&[][..], Vec::as_slice);
                    value(prefix, bytes).map_err(|problem| format!("headers: {name}: {problem}"))?
                }
            };
            Ok((name.clone(), value))
        });
        made.collect()
    };
    Fresh::new(handler, sources, Box::new(make))
}

/// A value is a secret, so what is wrong is told without a byte of it.
fn value(prefix: &str, bytes: &[u8]) -> Result<HeaderValue, &'static str> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        return Err("the file is empty");
    }
    let value = HeaderValue::from_bytes(&[prefix.as_bytes(), bytes].concat());
    let mut value =
        value.map_err(|_| "the file holds what no header can, such as a second line")?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(
    handler: &str,
    settings: &TlsSettings,
    version: HttpVersion,
) -> Result<Arc<Fresh<ClientConfig>>, String> {
    let protocols: &[&[u8]] = match version {
        HttpVersion::Auto => &[b"h2", b"http/1.1"],
        HttpVersion::One => &[b"http/1.1"],
        HttpVersion::Two => &[b"h2"],
    };
    let files = &settings.files;
    let pair = files.client_files.as_ref();
    let named = [
        ("ca_file", files.ca_file.as_ref()),
        ("cert_file", pair.map(|(certificate, _)| certificate)),
        ("key_file", pair.map(|(_, key)| key)),
    ];
    let source = |(key, path): (&str, Option<&std::path::PathBuf>)| {
        Some(Source {
            key: format!("tls.{key}"),
            path: path?.clone(),
            max_bytes: tls::MAX_BYTES,
        })
    };
    let sources: Vec<Source> = named.into_iter().filter_map(source).collect();
    let has_ca = files.ca_file.is_some();
    let told = sources.clone();
    let make = move |contents: &Contents| {
        let (ca, pair) = contents.split_at(usize::from(has_ca));
        let files = ClientFiles {
            ca: ca.first().map(Vec::as_slice),
            pair: match pair {
                [certificate, key] => Some((certificate, key)),
                _ => None,
            },
        };
        tls::client(files, protocols).map_err(|problem| {
            let key = format!("tls.{}", problem.file);
            let source = told.iter().find(|source| source.key == key);
            let path = source.map(|source| format!("{}: ", source.path.display()));
            format!("{key}: {}{}", path.unwrap_or_default(), problem.why)
        })
    };
    Fresh::new(handler, sources, Box::new(make))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_line_and_no_secret_is_told() {
        let good = value("Bearer ", b" s3cret\n").unwrap();
        assert_eq!(good, "Bearer s3cret");
        assert!(!format!("{good:?}").contains("s3cret"));
        assert_eq!(value("", b"\xff\r\n").unwrap().as_bytes(), b"\xff");
        for bad in [&b""[..], b" \n", b"s3cret\nx-admin: 1", b"s3\0cret"] {
            let told = value("Bearer ", bad).unwrap_err();
            assert!(!told.contains("s3"), "{told}");
        }
    }
}
