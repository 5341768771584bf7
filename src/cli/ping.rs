//! `mcpd ping`: whether a server is there and how long its answers travel.

use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, complain, settle};
use super::peer::{self, Peer, ms};
use super::render;
use clap::Args;
use mcpd_client::{Connection, ServerInfo};
use serde::Serialize;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

/// A server takes at least 100 control frames a second without CALM_DOWN.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

const EXAMPLES: &str = "Examples:
  mcpd ping
  mcpd ping --to mcp://10.0.0.7:8080 --count 0 --interval 250ms
  mcpd ping --count 1 --json

Ends with 0 if anything was answered and the connection held, else with 69 (76 if what is there does
not speak MCP).";

/// Arguments of `mcpd ping`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ping {
    #[command(flatten)]
    peer: Peer,
    /// Heartbeats to send; 0: until Ctrl-C
    #[arg(long, short = 'c', default_value_t = 4, value_name = "N")]
    count: u64,
    /// Time from one heartbeat to the next, with unit; at least 10ms
    #[arg(long, short = 'i', default_value = "1s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
    /// How long to wait for each answer, with unit
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = peer::duration)]
    timeout: Duration,
    /// Print one JSON object a line: a hello, one for each heartbeat, a summary (default: text)
    #[arg(long)]
    json: bool,
}

/// One line of `--json`. Keys are only ever added: scripts read this.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    Hello {
        server: &'a str,
        server_id: Option<&'a str>,
        agent: Option<&'a str>,
        heartbeat_ms: u64,
        max_payload: u32,
        max_in_flight: u16,
    },
    Heartbeat {
        number: u64,
        answered: bool,
        round_trip_ms: Option<f64>,
    },
    Summary {
        ok: bool,
        exit_code: u8,
        sent: u64,
        answered: u64,
        min_ms: Option<f64>,
        avg_ms: Option<f64>,
        max_ms: Option<f64>,
        code: Option<String>,
        text: Option<&'a str>,
    },
}

#[derive(Default)]
struct Tally {
    sent: u64,
    answered: u64,
    min: Duration,
    max: Duration,
    total: Duration,
}

/// Why the pinging is over.
enum End {
    Done,
    Interrupted,
    Failed(Failure),
    /// Standard output takes no more.
    Deaf(io::Error),
}

struct Pinging<'a> {
    args: &'a Ping,
    address: String,
    output: Output,
    tally: Tally,
}

pub(super) fn run(args: &Ping) -> Exit {
    let mut pinging = Pinging {
        args,
        address: args.peer.address(),
        output: Output::new(),
        tally: Tally::default(),
    };
    let end = match peer::runtime() {
        Err(failure) => End::Failed(failure),
        Ok(runtime) => {
            let end = runtime.block_on(pinging.run());
            // A look-up of a name may still be running; nobody waits for it.
            runtime.shutdown_background();
            end
        }
    };
    pinging.sum_up(end)
}

impl Pinging<'_> {
    async fn run(&mut self) -> End {
        let mut interrupt = match signal(SignalKind::interrupt()) {
            Ok(interrupt) => interrupt,
            Err(error) => return End::Failed(Failure::internal(error.to_string())),
        };
        let connected = tokio::select! {
            connected = self.args.peer.connect(Some(self.args.timeout), 0) => match connected {
                Ok(connected) => connected,
                Err(failure) => return End::Failed(failure),
            },
            _ = interrupt.recv() => return End::Interrupted,
        };
        // One connection is what is measured: the client would move on to another.
        let connection = &connected.connection;
        match self.hello(connection.server()) {
            Ok(()) => self.heartbeats(connection, &mut interrupt).await,
            Err(error) => End::Deaf(error),
        }
    }

    async fn heartbeats(&mut self, connection: &Connection, interrupt: &mut Signal) -> End {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                _ = interrupt.recv() => return End::Interrupted,
            }
            // Late answers put the rest off; they do not bring it in a burst.
            next = Instant::now() + self.args.interval;
            self.tally.sent += 1;
            let answer = tokio::select! {
                answer = timeout(self.args.timeout, connection.ping()) => answer,
                _ = interrupt.recv() => return End::Interrupted,
            };
            let time = match answer {
                Ok(Ok(time)) => Some(time),
                Ok(Err(error)) => return End::Failed(error.into()),
                Err(_) => None,
            };
            if let Err(error) = self.heartbeat(time) {
                return End::Deaf(error);
            }
            if self.tally.sent == self.args.count {
                return End::Done;
            }
        }
    }

    fn hello(&self, server: &ServerInfo) -> io::Result<()> {
        if self.args.json {
            return self.output.json(&Event::Hello {
                server: &self.address,
                server_id: server.server_id.as_deref(),
                agent: server.agent.as_deref(),
                heartbeat_ms: u64::try_from(server.heartbeat.as_millis()).unwrap_or(u64::MAX),
                max_payload: server.max_payload,
                max_in_flight: server.max_in_flight,
            });
        }
        let name = server
            .server_id
            .as_deref()
            .unwrap_or("a server without a name");
        self.output.line(&format!(
            "{}: {}, takes {} bytes a frame, {} requests in flight",
            self.address,
            render::one_line(name),
            server.max_payload,
            server.max_in_flight,
        ))
    }

    fn heartbeat(&mut self, time: Option<Duration>) -> io::Result<()> {
        let number = self.tally.sent;
        if let Some(time) = time {
            self.tally.add(time);
        }
        if self.args.json {
            return self.output.json(&Event::Heartbeat {
                number,
                answered: time.is_some(),
                round_trip_ms: time.map(ms),
            });
        }
        self.output.line(&match time {
            Some(time) => format!("heartbeat {number}: {:.3} ms", ms(time)),
            None => format!(
                "heartbeat {number}: no answer within {:?}",
                self.args.timeout
            ),
        })
    }

    fn sum_up(&self, end: End) -> Exit {
        let (failure, written) = match end {
            End::Failed(failure) => (Some(failure), Ok(())),
            End::Deaf(error) => (None, Err(error)),
            End::Done | End::Interrupted => (None, Ok(())),
        };
        let exit = match &failure {
            // Whoever stopped reading has seen what it wanted.
            None if self.tally.answered > 0 || written.is_err() => Exit::Ok,
            Some(failure) if failure.exit != Exit::Transient => failure.exit,
            _ => Exit::Unreachable,
        };
        let written = written.and_then(|()| match self.args.json {
            true => self.output.json(&self.tally.event(exit, failure.as_ref())),
            false => self.say(failure.as_ref()),
        });
        settle(written, exit)
    }

    fn say(&self, failure: Option<&Failure>) -> io::Result<()> {
        let tally = &self.tally;
        if tally.sent > 0 {
            let times = match tally.times() {
                Some([min, avg, max]) => {
                    format!("; round trip min/avg/max {min:.3}/{avg:.3}/{max:.3} ms")
                }
                None => String::new(),
            };
            let (sent, answered) = (tally.sent, tally.answered);
            self.output
                .line(&format!("{sent} sent, {answered} answered{times}"))?;
        }
        match failure {
            Some(failure) => failure.show(),
            None if tally.answered == 0 => complain("nothing was answered"),
            None => {}
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, time: Duration) {
        self.min = if self.answered == 0 {
            time
        } else {
            self.min.min(time)
        };
        self.max = self.max.max(time);
        self.total += time;
        self.answered += 1;
    }

    /// Least, average and most, in milliseconds.
    fn times(&self) -> Option<[f64; 3]> {
        let answered = u32::try_from(self.answered).unwrap_or(u32::MAX);
        let avg = self.total.checked_div(answered)?;
        Some([self.min, avg, self.max].map(ms))
    }

    fn event<'a>(&self, exit: Exit, failure: Option<&'a Failure>) -> Event<'a> {
        let times = self.times();
        Event::Summary {
            ok: exit == Exit::Ok,
            exit_code: exit.code(),
            sent: self.sent,
            answered: self.answered,
            min_ms: times.map(|times| times[0]),
            avg_ms: times.map(|times| times[1]),
            max_ms: times.map(|times| times[2]),
            code: failure
                .and_then(|failure| failure.code)
                .map(|code| code.to_string()),
            text: failure.map(|failure| failure.text.as_str()),
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = peer::duration(text)?;
    if time < LEAST_INTERVAL {
        return Err("write 10ms or more; a server ends a flood with CALM_DOWN".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_knows_least_average_and_most() {
        let mut tally = Tally::default();
        assert_eq!(tally.times(), None);
        for time in [4, 2, 6] {
            tally.add(Duration::from_millis(time));
        }
        assert_eq!(tally.times(), Some([2.0, 4.0, 6.0]));
    }
}
