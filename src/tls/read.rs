//! From PEM to certificates and keys.

use super::{MAX_BYTES, Problem};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::time::SystemTime;
use x509_cert::der::Decode;
use x509_cert::time::Validity;
use x509_cert::{Certificate, Version};

/// Most bytes of a chain: a handshake message of 64 KiB is the most that rustls and Go take.
const MAX_CHAIN: usize = 60 * 1024;

/// Every certificate of a file, in its order. There is at least one.
pub(super) fn certificates(
    file: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    within_bounds(file, pem)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| Problem::new(file, format!("is no PEM: {}", words(&error))))?;
    match all.is_empty() {
        true => Err(Problem::new(
            file,
            "has no certificate in it (PEM is wanted)",
        )),
        false => Ok(all),
    }
}

/// What is wrong, without the bytes that rustls would list.
fn words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it ends before its END line; is it whole?",
        pem::Error::IllegalSectionStart { .. } => "its first line is malformed",
        pem::Error::Base64Decode(_) => "what is in it is no base64",
        _ => "it cannot be read",
    }
}

/// Refuses a chain that no client would take: each would find its handshake broken.
pub(super) fn fits_a_handshake(
    file: &'static str,
    chain: &[CertificateDer<'_>],
) -> Result<(), Problem> {
    let bytes: usize = chain.iter().map(|der| der.len()).sum();
    match bytes > MAX_CHAIN {
        true => Err(Problem::new(
            file,
            format!(
                "has {} certificates of {bytes} bytes, and clients take {MAX_CHAIN}; leave out \
                 those that do not lead to its root",
                chain.len()
            ),
        )),
        false => Ok(()),
    }
}

/// The private key of a file. What is wrong is told without a byte of it.
pub(super) fn key(file: &'static str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    within_bounds(file, pem)?;
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        Problem::new(
            file,
            "has no private key in it that can be read (PEM is wanted)",
        )
    })
}

fn within_bounds(file: &'static str, pem: &[u8]) -> Result<(), Problem> {
    match pem.len() > MAX_BYTES {
        true => Err(Problem::new(
            file,
            format!("has more than {MAX_BYTES} bytes"),
        )),
        false => Ok(()),
    }
}

fn parse(file: &'static str, der: &[u8]) -> Result<Certificate, Problem> {
    Certificate::from_der(der)
        .map_err(|error| Problem::new(file, format!("has a certificate that is none: {error}")))
}

fn validity(file: &'static str, der: &[u8]) -> Result<Validity, Problem> {
    Ok(*parse(file, der)?.tbs_certificate().validity())
}

/// Refuses a server's certificate without room for its names, which is what openssl makes unless it is
/// told otherwise; rustls would blame the key.
pub(super) fn has_names(file: &'static str, chain: &[CertificateDer<'_>]) -> Result<(), Problem> {
    let Some(own) = chain.first() else {
        return Ok(());
    };
    match parse(file, own)?.tbs_certificate().version() {
        Version::V3 => Ok(()),
        _ => Err(Problem::new(
            file,
            "is not of X.509 version 3, so it has no names; make it with subjectAltName",
        )),
    }
}

/// When the first of a chain expires, none having done so at `now`.
pub(super) fn expiry(
    file: &'static str,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<SystemTime, Problem> {
    let mut first = None;
    for der in chain {
        let not_after = validity(file, der)?.not_after;
        let at = not_after.to_system_time();
        if at <= now {
            return Err(Problem::new(file, format!("has expired at {not_after}")));
        }
        first = Some(first.map_or(at, |first: SystemTime| first.min(at)));
    }
    first.ok_or_else(|| Problem::new(file, "has no certificate in it"))
}

/// Those that have not expired, of which there is at least one, and how many have.
pub(super) fn unexpired(
    file: &'static str,
    all: Vec<CertificateDer<'static>>,
    now: SystemTime,
) -> Result<(Vec<CertificateDer<'static>>, usize), Problem> {
    let count = all.len();
    let mut good = Vec::new();
    let mut last = None;
    for der in all {
        let not_after = validity(file, &der)?.not_after;
        match not_after.to_system_time() > now {
            true => good.push(der),
            false => last = Some(not_after),
        }
    }
    match last.filter(|_| good.is_empty()) {
        Some(last) => Err(Problem::new(file, format!("has expired at {last}"))),
        None => {
            let left_out = count - good.len();
            Ok((good, left_out))
        }
    }
}
