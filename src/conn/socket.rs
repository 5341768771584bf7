//! Options of sockets.

use super::settings::Settings;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A listening socket, not blocking, for which the kernel keeps `backlog` connections waiting.
pub(crate) fn listen(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server may bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // `[::]` serves both families, on hosts whose default says otherwise too.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Prepares an accepted socket: small frames go out at once, dead peers are noticed.
pub(super) fn prepare(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let (listen, conn) = (&settings.listen, &settings.conn);
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if !listen.keepalive.is_zero() {
        let keepalive = TcpKeepalive::new().with_time(listen.keepalive);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    #[cfg(target_os = "linux")]
    if !listen.user_timeout.is_zero() {
        // To the kernel a peer that acknowledges everything but reads nothing is dead as well. That
        // is for the write timeout to judge, which begins when the kernel's buffer is full only.
        let least = conn.write_timeout * 2 + conn.close_linger;
        socket.set_tcp_user_timeout(Some(listen.user_timeout.max(least)))?;
    }
    Ok(())
}
