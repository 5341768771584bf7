use super::{ClientAuth, Files, MAX_BYTES, Terms, ready};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const TERMS: Terms = Terms {
    client_auth: ClientAuth::Required,
    protocol: b"mcp/1",
};

/// A certificate that is good for this year, and its key.
fn pair(year: i32) -> (String, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(year, 1, 1);
    params.not_after = date_time_ymd(year + 1, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// In the middle of the year 2000.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(962_000_000)
}

fn files(certificate: &str, key: &str, client_ca: &str) -> Files {
    Files {
        certificate: certificate.into(),
        key: key.into(),
        client_ca: Some(client_ca.into()),
    }
}

fn problem(files: &Files) -> String {
    ready(files, TERMS, now()).unwrap_err().to_string()
}

#[test]
fn what_fits_together_is_taken_until_its_first_certificate_expires() {
    let ((own, key), (ca, _)) = (pair(2000), pair(2002));
    let ready = ready(&files(&own, &key, &ca), TERMS, now()).unwrap();
    let year_2001 = UNIX_EPOCH + Duration::from_secs(978_307_200);
    assert_eq!((ready.not_after, ready.left_out), (year_2001, 0));
    assert_eq!(ready.config.alpn_protocols, [b"mcp/1"]);
    assert_eq!(ready.config.max_early_data_size, 0);
}

#[test]
fn nobody_resumes_where_certificates_are_asked_for() {
    let (own, key) = pair(2000);
    let files = files(&own, &key, &own);
    for (client_auth, tickets) in [
        (ClientAuth::Off, 1),
        (ClientAuth::Optional, 0),
        (ClientAuth::Required, 0),
    ] {
        let terms = Terms {
            client_auth,
            ..TERMS
        };
        let config = ready(&files, terms, now()).unwrap().config;
        assert_eq!(config.send_tls13_tickets, tickets);
        assert_eq!(config.ticketer.enabled(), tickets > 0);
        assert!(!config.session_storage.can_cache());
    }
}

#[test]
fn what_does_not_fit_is_told_by_its_file() {
    let ((own, key), (_, other), (old, old_key)) = (pair(2000), pair(2000), pair(1990));
    let endless = own.repeat(200);
    let half = own.split_once("-----END").map(|(half, _)| half).unwrap();
    let too_large = "#".repeat(MAX_BYTES + 1);
    for (files, told) in [
        (files(&own, &other, &own), "key: is not the key"),
        (files(&own, "", &own), "key: has no private key"),
        (files(&own, &own, &own), "key: has no private key"),
        (
            files(&old, &old_key, &own),
            "certificate: has expired at 1991-01-01",
        ),
        (files("", &key, &own), "certificate: has no certificate"),
        (files(&key, &key, &own), "certificate: has no certificate"),
        (files(&too_large, &key, &own), "certificate: has more than"),
        (
            files(&endless, &key, &own),
            "certificate: has 200 certificates of",
        ),
        (
            files(half, &key, &own),
            "certificate: is no PEM: it ends before its END line",
        ),
        (files(&own, &key, ""), "client_ca: has no certificate"),
        (
            files(&own, &key, &old),
            "client_ca: has expired at 1991-01-01",
        ),
    ] {
        let problem = problem(&files);
        assert!(problem.starts_with(told), "{told}: {problem}");
        assert!(!problem.contains("BEGIN"), "{problem}");
    }
}

/// A bundle outlives the CAs in it.
#[test]
fn an_expired_ca_beside_a_good_one_is_left_out() {
    let ((own, key), (old, _)) = (pair(2000), pair(1990));
    let both = format!("{old}{own}");
    let ready = ready(&files(&own, &key, &both), TERMS, now()).unwrap();
    assert_eq!(ready.left_out, 1);
}

/// What `openssl x509 -req` makes without extensions: nobody could tell whose it is.
const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBJDCBywIUVw0tIq5FcEPR7uQPfutyfKi5E3AwCgYIKoZIzj0EAwIwFDESMBAG
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNTIxMTAyOFoYDzIxMjYxMTAxMjExMDI4
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASXM0zzIi5zhsI5I3g28n5d9Meu4sG1tDgLIYs7NwlnU5QoqFHjh+qcfrDIHm89
glePsX9kEamfq74jk9i3mtydMAoGCCqGSM49BAMCA0gAMEUCIBiYN0XMFnDi5C4z
sCcAbdlpldfBqGWYqvX7qnNW4kEJAiEAqbqeh96kg2H2Ugc8eGLFOgyZnBPh2TBU
JR5d4QVHVLs=
-----END CERTIFICATE-----
";

#[test]
fn a_certificate_without_room_for_names_is_told_from_a_wrong_key() {
    let (own, key) = pair(2000);
    let problem = problem(&files(VERSION_1, &key, &own));
    assert!(
        problem.starts_with("certificate: is not of X.509 version 3"),
        "{problem}"
    );
}
