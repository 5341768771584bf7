//! What the load's bytes go over.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// A connection that has shaken hands, where there are hands to shake.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// Shakes hands with a server that calls itself localhost.
    pub(crate) fn tls(mut stream: TcpStream, config: Arc<ClientConfig>) -> anyhow::Result<Self> {
        let name = ServerName::try_from("localhost")?;
        let mut session = ClientConnection::new(config, name)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Transport::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Transport::Plain(stream) => stream,
            Transport::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Transport::Plain(stream) => stream.read(buffer),
            Transport::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Transport::Plain(stream) => stream.write(bytes),
            // What is encrypted has to be sent, too, or the answer is waited for in vain.
            Transport::Tls(stream) => {
                let written = stream.write(bytes)?;
                stream.flush()?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Transport::Plain(stream) => stream.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}
