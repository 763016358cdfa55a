//! The kernel's socket diagnosis (`sock_diag(7)`), asked for the TCP sockets that listen at a port.
//!
//! `/proc/net/tcp` tells the same, but to write it the kernel goes through the table of all connections, which is as large
//! as the machine is, and that twice: milliseconds of a processor for a question that concerns one socket.

use std::collections::HashSet;
use std::io;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

use super::LISTENING;

/// Every message begins with its length (4 bytes), kind (2), flags (2), number (4) and sender (4).
const HEADER: usize = 16;

/// What a message is: the answer's end, an error, or a question by family and an answer to it.
const DONE: u16 = 3;
const ERROR: u16 = 2;
const BY_FAMILY: u16 = 20;

/// "A request, for all that there are".
const REQUEST_ALL: u16 = 0x1 | 0x300;

const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;

/// Where an answer's body has the local port and the inode.
const PORT_AT: usize = 4;
const INODE_AT: usize = 68;

/// The inodes of the sockets that listen at `port`.
///
/// # Errors
/// When the kernel can't be asked so.
pub(super) fn listeners(port: u16) -> io::Result<HashSet<u64>> {
    let mut inodes = of_family(INET, port)?;
    // Not every host has IPv6.
    inodes.extend(of_family(INET6, port).unwrap_or_default());
    Ok(inodes)
}

fn of_family(family: u8, port: u16) -> io::Result<HashSet<u64>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(
        &socket,
        &question(family, port),
        SendFlags::empty(),
        &kernel,
    )?;
    let mut inodes = HashSet::new();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        if length == 0 || take(&buffer[..length], port, &mut inodes)? {
            return Ok(inodes);
        }
    }
}

/// The header, and behind it family, protocol, two bytes of nothing, the wanted states, and the wanted socket: its local
/// port, and 46 bytes that may be anything.
fn question(family: u8, port: u16) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let mut bytes = Vec::with_capacity(LENGTH as usize);
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_ALL.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, TCP, 0, 0]);
    bytes.extend((1_u32 << LISTENING).to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(LENGTH as usize, 0);
    bytes
}

/// Takes the inodes out of some messages; tells whether they were the last.
fn take(mut bytes: &[u8], port: u16, inodes: &mut HashSet<u64>) -> io::Result<bool> {
    let broken = || io::Error::other("the kernel's socket diagnosis can't be understood");
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let kind = rest.first_chunk::<2>().ok_or_else(broken)?;
        let body = bytes.get(HEADER..length).ok_or_else(broken)?;
        match u16::from_ne_bytes(*kind) {
            DONE => return Ok(true),
            ERROR => return Err(broken()),
            BY_FAMILY => {
                let at = |place: usize| body.get(place..).ok_or_else(broken);
                let local = at(PORT_AT)?.first_chunk::<2>().ok_or_else(broken)?;
                let inode = at(INODE_AT)?.first_chunk::<4>().ok_or_else(broken)?;
                if u16::from_be_bytes(*local) == port {
                    inodes.insert(u32::from_ne_bytes(*inode).into());
                }
            }
            _ => {}
        }
        // Each begins at a multiple of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn listeners_are_told_and_connections_are_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let place = listener.local_addr().expect("its address");
            let _caller = TcpStream::connect(place).expect("connected");
            let listed = super::super::sockets_at(place.port()).expect("listed");
            let listening = listed.iter().filter(|s| s.state == LISTENING);
            let listening: HashSet<u64> = listening.map(|s| s.inode).collect();
            assert_eq!(listening.len(), 1);
            assert_eq!(listeners(place.port()).expect("asked"), listening);
            drop(listener);
            assert!(listeners(place.port()).expect("asked").is_empty());
        }
    }

    #[test]
    fn what_is_no_answer_is_not_believed() {
        let mut none = HashSet::new();
        for bytes in [&[200, 0, 0, 0, 20, 0][..], &[1, 0, 0, 0], &[0; 16]] {
            assert!(take(bytes, 80, &mut none).is_err(), "{bytes:?}");
        }
        assert!(none.is_empty());
    }
}
