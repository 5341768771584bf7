//! What is shown to NATS: read from files when it is shown, and never printed.

use crate::background;
use async_nats::{Auth, AuthError};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Far more than any secret has.
const MAX_SECRET: u64 = 64 * 1024;

/// Where the credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A token.
    Token(PathBuf),
    /// A name, and a file with its password.
    Password(String, PathBuf),
    /// A `.creds` file: a JWT, and the seed of the key that signs for it.
    File(PathBuf),
}

impl Credentials {
    /// Reads what is to be shown, and signs the server's nonce where that is asked for.
    pub(super) async fn show(self, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        let reading = background::run(move || self.read(&nonce)).await;
        match reading {
            Ok(auth) => auth.map_err(AuthError::new),
            Err(_) => Err(AuthError::new("the credentials could not be read")),
        }
    }

    fn read(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        match self {
            Credentials::Token(path) => auth.token = Some(secret(path)?),
            Credentials::Password(user, path) => {
                auth.username = Some(user.clone());
                auth.password = Some(secret(path)?);
            }
            Credentials::File(path) => {
                let text = secret(path)?;
                let found = |part: Option<&str>, what: &str| {
                    let path = path.display();
                    part.map(str::to_owned)
                        .ok_or_else(|| format!("{path} holds no {what}"))
                };
                let jwt = found(decorated(&text, "USER JWT"), "user JWT")?;
                let seed = found(decorated(&text, "USER NKEY SEED"), "seed of a user")?;
                // Its words might repeat the seed.
                let unusable = |_| format!("the seed in {} is not one", path.display());
                let key = nkeys::KeyPair::from_seed(&seed).map_err(unusable)?;
                auth.signature = Some(key.sign(nonce).map_err(unusable)?);
                auth.jwt = Some(jwt);
            }
        }
        Ok(auth)
    }
}

/// The text of a file, without the line end that editors leave.
fn secret(path: &Path) -> Result<String, String> {
    read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_SECRET)
        .read_to_string(&mut text)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}

/// What stands between `-----BEGIN … <what>-----` and the line that ends it.
fn decorated<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(what))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDS: &str = "-----BEGIN NATS USER JWT-----\neyJ0.abc.def\n------END NATS USER JWT------\n\n\
        ************************* IMPORTANT *************************\n\n\
        -----BEGIN USER NKEY SEED-----\nSEED\n------END USER NKEY SEED------\n";

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_line_end_is_no_part_of_a_secret() {
        let (_dir, path) = file("s3cret\n");
        let auth = Credentials::Token(path.clone()).read(b"").unwrap();
        assert_eq!(auth.token.as_deref(), Some("s3cret"));
        let auth = Credentials::Password("ada".into(), path).read(b"").unwrap();
        assert_eq!(auth.username.as_deref(), Some("ada"));
        assert_eq!(auth.password.as_deref(), Some("s3cret"));
    }

    #[test]
    fn a_creds_file_signs_the_nonce() {
        let pair = nkeys::KeyPair::new_user();
        let (_dir, path) = file(&CREDS.replace("SEED\n-", &format!("{}\n-", pair.seed().unwrap())));
        let auth = Credentials::File(path).read(b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ0.abc.def"));
        pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_words() {
        let (_dir, path) = file(CREDS);
        let problem = Credentials::File(path).read(b"nonce").err().unwrap();
        assert!(
            problem.contains("is not one") && !problem.contains("SEED\n"),
            "{problem}"
        );
        let (_dir, path) = file("s3cret");
        let problem = Credentials::File(path.clone())
            .read(b"nonce")
            .err()
            .unwrap();
        assert!(
            problem.contains("no user JWT") && !problem.contains("s3cret"),
            "{problem}"
        );
        let gone = path.with_extension("gone");
        let problem = Credentials::Token(gone).read(b"").err().unwrap();
        assert!(problem.contains("cannot read"), "{problem}");
    }
}
