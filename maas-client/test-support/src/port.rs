//! Free TCP ports on the loopback interface.

use std::net::TcpListener;

/// A port on 127.0.0.1 that nobody listens on at the moment.
///
/// Another process may take it before the caller does, so whoever starts a server on it must be ready to try again.
///
/// # Panics
///
/// When the machine has no free port left.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("the loopback interface has a free port")
        .port()
}
