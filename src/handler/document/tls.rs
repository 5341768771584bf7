//! The key `tls` of entries that reach out.

use super::value::{of_text, parsed, path, section};
use crate::handler::{TlsFiles, TlsSettings};
use crate::router::document::reading::{self, Fields, Report};
use rustls::pki_types::ServerName;

/// What `tls` says, if it is there.
pub(super) fn settings(fields: &Fields<'_>, report: &mut Report) -> Option<TlsSettings> {
    let known = &["ca_file", "cert_file", "key_file", "server_name"];
    let section = section(fields, "tls", known, report)?;
    let server_name = parsed(&section, "server_name", name, report);
    let files = read(fields, &section, report);
    Some(TlsSettings { files, server_name })
}

/// The same of a `tls` that knows of files alone.
pub(super) fn files(fields: &Fields<'_>, report: &mut Report) -> Option<TlsFiles> {
    let known = &["ca_file", "cert_file", "key_file"];
    let section = section(fields, "tls", known, report)?;
    Some(read(fields, &section, report))
}

fn read(fields: &Fields<'_>, section: &Fields<'_>, report: &mut Report) -> TlsFiles {
    let ca_file = parsed(section, "ca_file", path, report);
    let (certificate, key) = (section.get("cert_file"), section.get("key_file"));
    if certificate.is_some() != key.is_some()
        && let Some(place) = fields.get("tls")
    {
        let message = "has one of cert_file and key_file; set both, or none";
        reading::wrong(&place, message, report);
    }
    let mut file = |field| of_text(&field, path, report);
    let (certificate, key) = (certificate.and_then(&mut file), key.and_then(&mut file));
    TlsFiles {
        ca_file,
        client_files: certificate.zip(key),
    }
}

fn name(text: &str) -> Result<String, String> {
    match ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => {
            Err("is nothing that a certificate can be for; write a name or an address".into())
        }
    }
}
