//! Where tokens come from.

use crate::connector::BoxFuture;
use crate::file;
use crate::telemetry;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest token: what is larger does not fit into a HELLO where servers ask for one.
const MAX_TOKEN: usize = 16 * 1024;

/// Gives the token for each new connection: tokens end, and a connection that is opened later needs
/// the one of then. A function that returns a future of a token is one, too.
///
/// It is asked within the time for connecting. An attempt fails if it does; the next one, after a
/// pause, asks again.
///
/// ```
/// use mcpd_client::Client;
/// # async fn fetch() -> std::io::Result<Vec<u8>> { Ok(b"s3cret".to_vec()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
///
/// let client = Client::builder("mcp://localhost:8080")
///     .credentials(|| async { fetch().await })
///     .build_lazy()?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
pub trait Credentials: Send + Sync + 'static {
    /// The token for a connection that is about to be opened.
    ///
    /// # Errors
    /// Whatever keeps it from being had. The words are shown, so they must not hold a secret.
    fn token(&self) -> BoxFuture<'_, io::Result<Vec<u8>>>;
}

impl<F, T> Credentials for F
where
    F: Fn() -> T + Send + Sync + 'static,
    T: Future<Output = io::Result<Vec<u8>>> + Send + 'static,
{
    fn token(&self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(self())
    }
}

/// A token in a file that somebody replaces now and then, such as the projected token of a Kubernetes
/// service account. It is read for each new connection; blanks and newlines around it do not count.
///
/// While the file is missing, empty or too large, the token read before is shown, and a warning says
/// why.
#[derive(Clone)]
pub struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    token: Option<Vec<u8>>,
    /// What is wrong with what there was since; told once.
    complaint: Option<String>,
}

impl TokenFile {
    /// Nothing is read yet.
    pub fn new(path: impl Into<PathBuf>) -> TokenFile {
        TokenFile(Arc::new(Inner {
            path: path.into(),
            last: Mutex::default(),
        }))
    }

    /// Reads the file now, which may block, and shows its token from now on. Connections do so by themselves;
    /// this is for those who want to know beforehand, or to tell when something is wrong.
    ///
    /// # Errors
    /// It holds no token now. The one that was read before stays.
    ///
    /// ```
    /// use mcpd_client::TokenFile;
    ///
    /// let error = TokenFile::new("/etc/mcp/token").load().unwrap_err();
    /// assert!(error.to_string().contains("/etc/mcp/token"));
    /// ```
    pub fn load(&self) -> io::Result<()> {
        let token = self.0.read().map_err(io::Error::other)?;
        self.0.last().take(token);
        Ok(())
    }
}

impl Last {
    fn take(&mut self, token: Vec<u8>) {
        *self = Last {
            token: Some(token),
            complaint: None,
        };
    }
}

impl Inner {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = file::read(&self.path, MAX_TOKEN)?;
        match bytes.trim_ascii() {
            [] => Err(format!("{} is empty", self.path.display())),
            token => Ok(token.to_vec()),
        }
    }

    fn token(&self) -> io::Result<Vec<u8>> {
        let read = self.read();
        let mut last = self.last();
        match (read, last.token.clone()) {
            (Ok(token), _) => {
                last.take(token.clone());
                Ok(token)
            }
            (Err(problem), None) => Err(io::Error::other(problem)),
            (Err(problem), Some(token)) => {
                if last.complaint.as_ref() != Some(&problem) {
                    telemetry::kept("token", &problem);
                    last.complaint = Some(problem);
                }
                Ok(token)
            }
        }
    }
}

impl Credentials for TokenFile {
    fn token(&self) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        let file = self.0.clone();
        Box::pin(async move {
            let reading = tokio::task::spawn_blocking(move || file.token());
            reading.await.map_err(io::Error::other)?
        })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.0.path).finish()
    }
}

/// The token of a connection: one for all times, or one for each.
#[derive(Clone)]
pub(crate) enum Token {
    Fixed(Vec<u8>),
    Asked(Arc<dyn Credentials>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_is_read_anew_and_keeps_the_last_good_one() {
        let name = format!("mcpd-client-token-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = TokenFile::new(&path);
        let error = file.token().await.unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        let large = vec![b'x'; MAX_TOKEN + 1];
        for (held, token) in [
            (&b" one\n"[..], "one"),
            (b"two", "two"),
            (b"\n", "two"),
            (&large, "two"),
            (b"three\r\n", "three"),
        ] {
            std::fs::write(&path, held).unwrap();
            // Whoever wants to know is told of what is there now, whatever is shown.
            assert_eq!(file.load().is_ok(), held.trim_ascii() == token.as_bytes());
            assert_eq!(file.token().await.unwrap(), token.as_bytes());
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.token().await.unwrap(), b"three");
        assert!(!format!("{file:?}").contains("three"));
    }
}
