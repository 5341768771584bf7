//! What a client's certificate says of it.

use crate::message::Certificate;
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode, Error};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Reads one that was verified; names of kinds that we do not know are left out.
pub(super) fn read(der: &[u8]) -> Result<Certificate, Error> {
    let certificate = X509::from_der(der)?;
    let certificate = certificate.tbs_certificate();
    let mut read = Certificate {
        uris: Vec::new(),
        dns_names: Vec::new(),
        emails: Vec::new(),
        not_after: certificate.validity().not_after.to_system_time(),
    };
    let names = certificate.get_extension::<SubjectAltName>()?;
    for name in names.into_iter().flat_map(|(_, names)| names.0) {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => read.uris.push(uri.to_string()),
            GeneralName::DnsName(name) => read.dns_names.push(name.to_string()),
            GeneralName::Rfc822Name(mail) => read.emails.push(mail.to_string()),
            _ => {}
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn names_are_told_apart_and_others_left_out() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let uri = SanType::URI("spiffe://x/till".try_into().unwrap());
        let mail = SanType::Rfc822Name("me@example.org".try_into().unwrap());
        let address = SanType::IpAddress([10, 0, 0, 1].into());
        params.subject_alt_names.extend([uri, mail, address]);
        params.not_after = date_time_ymd(2031, 1, 1);
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = read(signed.der()).unwrap();
        assert_eq!(read.uris, ["spiffe://x/till"]);
        assert_eq!(read.dns_names, ["a.example"]);
        assert_eq!(read.emails, ["me@example.org"]);
        let year_2031 = UNIX_EPOCH + Duration::from_secs(1_924_992_000);
        assert_eq!(read.not_after, year_2031);
    }

    #[test]
    fn one_without_names_has_none_and_a_broken_one_is_an_error() {
        let params = CertificateParams::new(Vec::new()).unwrap();
        let signed = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(read(signed.der()).unwrap().uris.is_empty());
        for cut in 0..signed.der().len() {
            assert!(read(&signed.der()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
