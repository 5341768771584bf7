//! Options of sockets.

use super::settings::ListenSettings;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{TcpListener, TcpStream};

/// A listening socket, not blocking.
pub(super) fn listen(settings: &ListenSettings) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(settings.addr),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted server may bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if settings.addr.is_ipv6() {
        // `[::]` serves both families, on hosts whose default says otherwise too.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&settings.addr.into())?;
    let backlog = i32::try_from(settings.backlog).unwrap_or(i32::MAX);
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Prepares an accepted socket: small frames go out at once, dead peers are noticed.
pub(super) fn prepare(stream: &TcpStream, settings: &ListenSettings) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if !settings.keepalive.is_zero() {
        let keepalive = TcpKeepalive::new().with_time(settings.keepalive);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if !settings.user_timeout.is_zero() {
        socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    }
    Ok(())
}
