//! Name servers for tests: really there, by UDP and TCP, each at an address of its own and all at one port.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NS};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What a server knows and how it says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    /// Whether it speaks with authority.
    pub(crate) authoritative: bool,
    /// What it says of names.
    pub(crate) records: Vec<Record>,
    /// Whom it sends to for names below this one.
    pub(crate) referral: Vec<Record>,
    /// Whether its answers do not fit into a packet.
    pub(crate) too_long_for_udp: bool,
    /// Whether it answers that a name it does not know does not exist.
    pub(crate) denies: bool,
}

/// A question as it came: what was asked, and whether recursion was wanted.
pub(crate) type Asked = (String, RecordType, bool, &'static str);

/// Servers. They end with the test.
pub(crate) struct NameServers {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<(IpAddr, Asked)>>>,
    _servers: JoinSet<()>,
}

impl NameServers {
    /// Starts a server at `127.0.0.1`, one at `127.0.0.2` and so on.
    pub(crate) async fn start(zones: Vec<Zone>) -> NameServers {
        let asked = Arc::<Mutex<Vec<_>>>::default();
        // A port that is free at one address may be taken at another: then the next.
        for _ in 0..50 {
            let port = test_support::free_port();
            if let Some(sockets) = bind(zones.len(), port).await {
                let mut servers = JoinSet::new();
                for ((udp, tcp), zone) in sockets.into_iter().zip(&zones) {
                    let at = udp.local_addr().unwrap().ip();
                    servers.spawn(serve_udp(udp, zone.clone(), at, asked.clone()));
                    servers.spawn(serve_tcp(tcp, zone.clone(), at, asked.clone()));
                }
                return NameServers {
                    port,
                    asked,
                    _servers: servers,
                };
            }
        }
        panic!("no port is free at all addresses");
    }

    /// What the server at `127.0.0.<last>` was asked.
    pub(crate) fn asked(&self, last: u8) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let here = asked.iter().filter(|(at, _)| *at == address(last));
        here.map(|(_, asked)| asked.clone()).collect()
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

async fn bind(count: usize, port: u16) -> Option<Vec<(UdpSocket, TcpListener)>> {
    let mut sockets = Vec::new();
    for last in 1..=count {
        let at = SocketAddr::new(address(u8::try_from(last).unwrap()), port);
        let udp = UdpSocket::bind(at).await.ok()?;
        sockets.push((udp, TcpListener::bind(at).await.ok()?));
    }
    Some(sockets)
}

type Log = Arc<Mutex<Vec<(IpAddr, Asked)>>>;

async fn serve_udp(socket: UdpSocket, zone: Zone, at: IpAddr, log: Log) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer[..length]).unwrap();
        let mut reply = zone.reply(&query, at, &log, "udp");
        if zone.too_long_for_udp {
            reply.answers.clear();
            reply.metadata.truncation = true;
        }
        let bytes = reply.to_vec().unwrap();
        socket.send_to(&bytes, from).await.unwrap();
    }
}

async fn serve_tcp(listener: TcpListener, zone: Zone, at: IpAddr, log: Log) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_connection(stream, zone.clone(), at, log.clone()));
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Zone, at: IpAddr, log: Log) {
    while let Ok(length) = stream.read_u16().await {
        let mut buffer = vec![0; usize::from(length)];
        stream.read_exact(&mut buffer).await.unwrap();
        let query = Message::from_vec(&buffer).unwrap();
        let bytes = zone.reply(&query, at, &log, "tcp").to_vec().unwrap();
        let length = u16::try_from(bytes.len()).unwrap();
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
}

impl Zone {
    fn reply(&self, query: &Message, at: IpAddr, log: &Log, by: &'static str) -> Message {
        let question = query.queries[0].clone();
        let (name, kind) = (question.name().clone(), question.query_type());
        let recursion = query.metadata.recursion_desired;
        let asked = (name.to_ascii(), kind, recursion, by);
        log.lock().unwrap().push((at, asked));
        let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        reply.metadata.authoritative = self.authoritative;
        reply.metadata.recursion_desired = recursion;
        reply.metadata.recursion_available = true;
        reply.add_query(question);
        let fits = |record: &&Record| {
            record.name == name && [kind, RecordType::CNAME].contains(&record.data.record_type())
        };
        reply.add_answers(
            self.records
                .iter()
                .filter(fits)
                .cloned()
                .collect::<Vec<_>>(),
        );
        if reply.answers.is_empty() && !self.referral.is_empty() {
            reply.metadata.authoritative = false;
            reply.add_authorities(self.referral.clone());
        } else if self.denies && !self.records.iter().any(|record| record.name == name) {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        reply
    }
}

pub(crate) fn ns(zone: &str, server: &str) -> Record {
    let server = NS(Name::from_ascii(server).unwrap());
    Record::from_rdata(Name::from_ascii(zone).unwrap(), 3600, RData::NS(server))
}

pub(crate) fn a(name: &str, ttl: u32, last: u8) -> Record {
    let address = A(Ipv4Addr::new(127, 0, 0, last));
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::A(address))
}

pub(crate) fn alias(name: &str, ttl: u32, target: &str) -> Record {
    let target = CNAME(Name::from_ascii(target).unwrap());
    Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::CNAME(target))
}

/// The resolver that everybody asks, at `127.0.0.1`.
pub(crate) fn resolver(more: &[Record]) -> Zone {
    let mut records = vec![
        ns("example.com.", "ns1.example.net."),
        ns("example.com.", "ns2.example.net."),
        a("ns1.example.net.", 600, 2),
        a("ns2.example.net.", 600, 3),
    ];
    records.extend_from_slice(more);
    Zone {
        records,
        denies: true,
        ..Zone::default()
    }
}

pub(crate) fn settings(servers: &NameServers, more: &str) -> String {
    let port = servers.port;
    format!(
        "allow = [\"127.0.0.0/8\"]\ndeadline = \"8s\"\n[gatherers.dns.resolve]\nresolvers = [\"127.0.0.1:{port}\"]\nport = {port}\ntimeout = \"6s\"\n{more}\n"
    )
}

pub(crate) const ALLOW: &str = "allow = [\"127.0.0.0/8\"]";

pub(crate) fn says(authoritative: bool, ttl: u32) -> Zone {
    Zone {
        authoritative,
        records: vec![a("www.example.com.", ttl, 99)],
        denies: true,
        ..Zone::default()
    }
}
