//! A server whose one handler leads to NATS, and a client of it.

use crate::embedded::{Embedded, document};
use crate::server::NatsServer;
use mcpd::handler::{Handler, Nats, NatsSettings};
use mcpd_client::{Answer, ConnectOptions, Connection, Error, ErrorCode, RequestBuilder};
use std::sync::Arc;

pub(crate) struct Front {
    pub(crate) server: Embedded,
    pub(crate) client: Connection,
}

impl Front {
    /// All topics lead to `subject`.
    pub(crate) fn new(
        nats: &NatsServer,
        subject: &str,
        change: impl FnOnce(&mut NatsSettings),
    ) -> Front {
        Front::at(&nats.url(), subject, change)
    }

    pub(crate) fn at(url: &str, subject: &str, change: impl FnOnce(&mut NatsSettings)) -> Front {
        let mut settings = NatsSettings::new(&[url], subject).unwrap();
        change(&mut settings);
        let handler: Arc<dyn Handler> = Arc::new(Nats::new(settings, Arc::default()));
        let server = Embedded::start(vec![("bus", handler)], &document(&[("'#'", "bus")]));
        let options = ConnectOptions::new().client_id("till-7");
        let connecting = Connection::connect(server.addr.to_string(), options);
        let client = server.runtime.block_on(connecting).unwrap();
        Front { server, client }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.server.runtime.block_on(work)
    }

    pub(crate) fn request(&self, topic: &str) -> RequestBuilder {
        self.client.request(topic).timeout(crate::PATIENCE)
    }

    /// Asks and expects a RESPONSE.
    pub(crate) fn ask(&self, topic: &str, body: &str) -> Answer {
        let answer = self.run(self.request(topic).body(body).send());
        answer.unwrap_or_else(|error| panic!("a RESPONSE, not {error}"))
    }
}

/// The code of an ERROR.
pub(crate) fn code(answer: Result<Answer, Error>) -> ErrorCode {
    let error = answer.expect_err("an ERROR");
    error
        .code()
        .unwrap_or_else(|| panic!("an ERROR of the server, not {error}"))
}
