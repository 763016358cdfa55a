//! One question to one name server, without recursion, and its whole reply: the header counts as much as the records.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::source::Failure;

/// What fits into one packet everywhere.
const PAYLOAD: u16 = 1232;

/// Packets that are not the reply, after which no more are looked at.
const STRAYS: usize = 16;

/// Asks by UDP, and by TCP if the reply did not fit.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> Result<Message, Failure> {
    let query = query(name, kind);
    let bytes = query
        .to_vec()
        .map_err(|error| Failure::Malformed(error.to_string()))?;
    let asked = async {
        let reply = by_udp(server, &query, &bytes).await?;
        if reply.metadata.truncation {
            return by_tcp(server, &query, &bytes).await;
        }
        Ok(reply)
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(error)) => Err(Failure::Unreachable(error.to_string())),
        Err(_) => Err(Failure::Timeout),
    }
}

fn query(name: &Name, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = false;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    query.set_edns(edns);
    query
}

async fn by_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any = if server.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, the kernel lets through only what comes from there.
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD)];
    for _ in 0..STRAYS {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && answers(&reply, query)
        {
            return Ok(reply);
        }
    }
    Err(io::Error::other("nothing but packets that are no reply"))
}

async fn by_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(bytes).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let reply = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if answers(&reply, query) {
        return Ok(reply);
    }
    Err(io::Error::other("a reply to another question"))
}

/// What a packet says, if it is the reply to such a question by a number that fits.
pub(super) fn read(packet: &[u8], name: &Name, kind: RecordType) -> Option<Message> {
    let reply = Message::from_vec(packet).ok()?;
    let mut query = query(name, kind);
    query.metadata.id = reply.metadata.id;
    answers(&reply, &query).then_some(reply)
}

/// Whoever guesses the port still has to guess the number.
fn answers(reply: &Message, query: &Message) -> bool {
    reply.metadata.id == query.metadata.id
        && reply.metadata.message_type == MessageType::Response
        && reply.metadata.op_code == OpCode::Query
        && reply.queries == query.queries
}
