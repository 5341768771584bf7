//! Whose a credential is, by what the document says of it.

use super::document::{Entry, Policy};
use super::jwt::Claims;
use crate::message::Certificate;
use crate::telemetry::AuthResult;

/// Most names of a certificate that are looked at: each is compared with all that the document knows.
const MAX_NAMES: usize = 64;

/// Whose a credential is.
#[derive(Debug)]
pub(super) enum Whose<'p> {
    Nobodys,
    /// This principal's; the credential is about this subject.
    One(&'p Entry, &'p str),
    /// More than one principal could claim it. Nothing would be a good way to choose.
    Several,
}

impl<'p> Whose<'p> {
    fn and(self, entry: &'p Entry, subject: &'p str) -> Whose<'p> {
        match self {
            Whose::Nobodys => Whose::One(entry, subject),
            _ => Whose::Several,
        }
    }

    /// The name of the one, and the subject.
    pub(super) fn only(self) -> Result<(String, Option<&'p str>), AuthResult> {
        match self {
            Whose::One(entry, subject) => Ok((entry.name.clone(), Some(subject))),
            Whose::Nobodys => Err(AuthResult::Unknown),
            Whose::Several => Err(AuthResult::Ambiguous),
        }
    }
}

impl Policy {
    pub(super) fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Who everybody is who shows nothing.
    pub(super) fn anonymous(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.anonymous)
    }

    pub(super) fn by_claims<'p>(&'p self, claims: &'p Claims) -> Whose<'p> {
        let fits = |entry: &&Entry| entry.jwt.iter().any(|one| one.fits(claims));
        let found = self.entries.iter().filter(fits);
        found.fold(Whose::Nobodys, |whose, entry| {
            whose.and(entry, claims.subject())
        })
    }

    /// The first of an entry's names that the certificate has is what it is about.
    pub(super) fn by_certificate<'p>(&'p self, shown: &'p Certificate) -> Whose<'p> {
        if shown.uris.len() + shown.dns_names.len() + shown.emails.len() > MAX_NAMES {
            return Whose::Several;
        }
        let named = |entry: &'p Entry| {
            let mut names = entry.certificates.iter();
            Some((entry, names.find_map(|name| name.find(shown))?))
        };
        let found = self.entries.iter().filter_map(named);
        found.fold(Whose::Nobodys, |whose, (entry, name)| {
            whose.and(entry, name)
        })
    }
}
