//! Options of sockets.

use super::settings::Settings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

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

/// Whether the connection is over for good, by reset or timeout; a half-close is not that. Does not wait.
///
/// SO_ERROR would not do: it also tells what is only true for now (on Linux, that some router finds the
/// peer unreachable), which TCP bridges until its own timeout.
pub(super) fn is_broken(stream: &impl AsFd) -> io::Result<bool> {
    const AT_ONCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Errors and hang-ups are told without being asked for.
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    match poll(&mut asked, Some(&AT_ONCE)) {
        Ok(_) => {}
        // The next look tells.
        Err(rustix::io::Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let told = asked[0].revents();
    Ok(told.intersects(PollFlags::ERR | PollFlags::HUP))
}
