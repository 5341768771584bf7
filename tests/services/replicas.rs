//! Replicas that know each other by their headless Service.

use crate::plane::{Condition, Endpoint, Plane, own_ip};
use crate::support::Server;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

struct Replica {
    name: String,
    server: Server,
    admin: SocketAddr,
}

fn replica(plane: &Plane, name: &str) -> Replica {
    let start = plane
        .server("shop")
        .set("SERVER_ID", name)
        .set("ADMIN__LISTEN", "127.0.0.1:0")
        .sidecar(SocketAddr::new(own_ip(), 0));
    let mut server = start.spawn();
    let admin = server.await_admin();
    Replica {
        name: name.to_owned(),
        server,
        admin,
    }
}

impl Replica {
    fn put_into(&self, plane: &Plane, condition: Condition) {
        let endpoint = Endpoint {
            addr: self.server.sidecar,
            port: "http",
            pod: &self.name,
            condition,
        };
        plane.put(&self.name, "shop-headless", &endpoint);
    }

    /// Writes a route, and waits for all.
    fn write(&self, topic: &str, timeout: &str) -> (u16, Value) {
        let body = format!("{{\"topic\": \"{topic}\", \"handler\": \"echo\"}}");
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(
            stream,
            "PUT /admin/v1/routes/{topic}?wait=all&timeout={timeout} HTTP/1.1\r\nHost: localhost\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

#[test]
fn a_write_waits_for_every_replica_that_serves() {
    let mut plane = Plane::start();
    let replicas: Vec<Replica> = ["shop-0", "shop-1", "shop-2"]
        .into_iter()
        .map(|name| replica(&plane, name))
        .collect();
    // Nobody is in the Service yet, so nothing is promised of anybody.
    let (status, told) = replicas[0].write("early", "300ms");
    assert_eq!(status, 202, "{told}");
    assert!(told["problem"].as_str().unwrap().contains("no endpoint"), "{told}");

    for replica in &replicas {
        replica.put_into(&plane, Condition::Ready);
    }
    replicas[2].put_into(&plane, Condition::Terminating);
    // Each learns of them in its own time.
    for replica in &replicas {
        while replica.server.metric("mcpd_peers{state=\"serving\"}") < 3.0 {
            replica.write("warm", "20s");
        }
    }
    for round in 0..10 {
        let topic = format!("t{round}");
        let (status, told) = replicas[round % 3].write(&topic, "20s");
        assert_eq!((status, &told["converged"]), (200, &true.into()), "{told}");
        for replica in &replicas {
            replica.server.peer().expect_alive_on(&topic);
        }
    }

    // One that serves and does not answer is named; one that does not serve is not waited for.
    replicas[2].server.signal("STOP");
    let (status, told) = replicas[0].write("stuck", "3s");
    assert_eq!((status, &told["stragglers"][0]["server"]), (202, &"shop-2".into()), "{told}");
    replicas[2].put_into(&plane, Condition::NotReady);
    let (status, told) = replicas[0].write("without", "20s");
    assert_eq!(status, 200, "{told}");
    replicas[2].server.signal("CONT");

    // Without the API server nothing is written, and so nobody is waited for.
    plane.order("stop");
    let (status, told) = replicas[0].write("never", "1s");
    assert!(matches!(status, 503 | 504), "{told}");
    plane.order("start");
}
