//! A connection that lives on another runtime than the one it was opened on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// Has the events of `stream` come to `home`.
pub(crate) fn moved(stream: TcpStream, home: &Handle) -> io::Result<TcpStream> {
    let stream = stream.into_std()?;
    let _at = home.enter();
    TcpStream::from_std(stream)
}

/// Runs a connection's task at `home`, or here if it has no other.
pub(crate) fn spawn(home: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
    match home {
        None => drop(tokio::spawn(task)),
        Some(home) => {
            let (time, task) = (Handle::current(), Box::pin(task));
            home.spawn(Visiting { time, task });
        }
    }
}

/// A task on a runtime that may know no time: for its timers it is polled as if it were on its own.
struct Visiting {
    time: Handle,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Visiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _as_if = this.time.enter();
        this.task.as_mut().poll(cx)
    }
}
