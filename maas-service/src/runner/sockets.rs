//! TCP sockets of this host, as the kernel lists them: who listens at a port, and which calls are still under way there.
//!
//! What runs in a network of its own, as containers do, is not in these lists.

mod diagnosis;

use std::collections::HashSet;
use std::io;

use crate::process::below;

/// As the kernel numbers a socket's states.
const ESTABLISHED: u8 = 0x01;
const LISTENING: u8 = 0x0A;

/// More processes than any copy may have.
const ALL: usize = 100_000;

/// One socket at a port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    state: u8,
    /// By which the descriptors that refer to it are known; 0 while nobody has accepted it.
    inode: u64,
}

/// How many connections to `port` are open from both sides. One that the caller has closed doesn't count, one that the
/// server has not accepted yet does.
///
/// # Errors
/// When the kernel's list can't be read.
pub(super) fn connections(port: u16) -> io::Result<usize> {
    let sockets = sockets_at(port)?;
    Ok(sockets.iter().filter(|s| s.state == ESTABLISHED).count())
}

/// Who listens at `port`, if that is certainly none of the processes below `ancestor`.
///
/// `None` also when it can't be told: the socket is in no list, or belongs to nobody we may look at.
pub(super) fn stranger_at(port: u16, ancestor: u32) -> Option<String> {
    // Some kernels are built without the diagnosis.
    let listening = match diagnosis::listeners(port) {
        Ok(listening) => listening,
        Err(_) => sockets_at(port)
            .ok()?
            .iter()
            .filter(|s| s.state == LISTENING)
            .map(|s| s.inode)
            .collect(),
    };
    if listening.is_empty()
        || below(ancestor, ALL)
            .iter()
            .any(|&pid| holds(pid, &listening))
    {
        return None;
    }
    let everybody = std::fs::read_dir("/proc").ok()?.flatten();
    let owner = everybody
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|&pid| holds(pid, &listening))?;
    // One that was started only now may be the model's after all.
    if below(ancestor, ALL).contains(&owner) {
        return None;
    }
    let name = std::fs::read_to_string(format!("/proc/{owner}/comm")).unwrap_or_default();
    Some(format!("process {owner} ({})", name.trim()))
}

/// Whether a process has one of these sockets open; one that we may not look at has not.
fn holds(pid: u32, inodes: &HashSet<u64>) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
        inode
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    })
}

fn sockets_at(port: u16) -> io::Result<Vec<Socket>> {
    let mut sockets = parse(&std::fs::read_to_string("/proc/net/tcp")?, port);
    // Not every host has IPv6.
    if let Ok(list) = std::fs::read_to_string("/proc/net/tcp6") {
        sockets.extend(parse(&list, port));
    }
    Ok(sockets)
}

/// Reads the lines `sl local_address rem_address st …`, in which addresses and ports are hexadecimal.
fn parse(list: &str, port: u16) -> Vec<Socket> {
    let end = format!(":{port:04X}");
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        if !fields.nth(1)?.ends_with(&end) {
            return None;
        }
        Some(Socket {
            state: u8::from_str_radix(fields.nth(1)?, 16).ok()?,
            inode: fields.nth(5)?.parse().ok()?,
        })
    };
    list.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernels_list_is_read_by_the_local_port() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
            2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 20 4 30 10 -1\n";
        let [listening, connected] = parse(list, 8080)[..] else {
            panic!("two sockets are at 8080");
        };
        assert_eq!((listening.state, listening.inode), (LISTENING, 4711));
        assert_eq!((connected.state, connected.inode), (ESTABLISHED, 4712));
        assert!(parse(list, 80).is_empty());
    }

    #[test]
    fn connections_count_until_their_caller_closes_them() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a port");
            let place = listener.local_addr().expect("its address");
            assert_eq!(connections(place.port()).expect("listed"), 0);
            let waiting = TcpStream::connect(place).expect("connected");
            let accepted = TcpStream::connect(place).expect("connected");
            let (server, _) = listener.accept().expect("accepted");
            assert_eq!(connections(place.port()).expect("listed"), 2);
            drop((waiting, accepted));
            assert_eq!(connections(place.port()).expect("listed"), 0);
            drop(server);
        }
    }

    #[test]
    fn a_listener_is_a_stranger_to_whoever_does_not_hold_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        // We listen, and are no descendant of ourselves.
        let stranger = stranger_at(port, std::process::id()).expect("it is us");
        let own = format!("process {}", std::process::id());
        assert!(stranger.starts_with(&own), "{stranger}");
        let parent = std::os::unix::process::parent_id();
        assert_eq!(stranger_at(port, parent), None);
        drop(listener);
        assert_eq!(stranger_at(port, parent), None, "nobody listens");
    }
}
