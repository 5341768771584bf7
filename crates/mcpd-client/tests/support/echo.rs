// The smallest server there can be: it answers every request with its own body. The examples of the
// documentation and `examples/echo.rs` run against it; it is included there as it stands.

/// Starts to serve on a free port of the loopback address, which it returns.
pub(crate) async fn serve_echo() -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Ok(address)
}

async fn echo(
    mut stream: tokio::net::TcpStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use mcpd_proto::session::{Server, ServerEvent, ServerSettings, Welcome};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut server = Server::new(ServerSettings::default().into(), Instant::now());
    let (mut deframer, mut buffer) = (mcpd_proto::Deframer::new(), vec![0; 4096]);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let (mut input, mut out, now) = (&buffer[..count], Vec::new(), Instant::now());
        while let Some(raw) = deframer.next(&mut input, &server.rules(), now)? {
            match server.receive(&raw, now, &mut out)? {
                ServerEvent::Hello(_) => server.welcome(Welcome::default(), &mut out),
                ServerEvent::Request(admitted) => mcpd_proto::Response {
                    seq: admitted.request.seq,
                    priority: admitted.request.priority,
                    body: admitted.request.body,
                    ..Default::default()
                }
                .encode(&mut out),
                _ => {}
            }
        }
        stream.write_all(&out).await?;
    }
}
