//! Listening sockets: one per reactor and address, sharing the port, with options that accepted sockets inherit.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Options of a listener, which the connections that it accepts inherit.
#[derive(Clone, Copy, Debug)]
pub struct ListenerOptions {
    /// Connections that may wait in the kernel to be accepted; `net.core.somaxconn` limits it.
    pub backlog: i32,
    /// Kernel memory for output that the peer has not acknowledged, in bytes: what a peer that does not read can occupy.
    pub send_buffer_bytes: usize,
}

/// Binds and listens, with `SO_REUSEPORT`, so that each reactor has its own queue.
///
/// The IPv6 wildcard includes IPv4. `TCP_NODELAY`, `SO_SNDBUF` and `TCP_NOTSENT_LOWAT` are set here only: accepted
/// sockets inherit them, which saves three system calls per connection.
pub fn listen(address: SocketAddr, options: ListenerOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(options.send_buffer_bytes)?;
    set_unsent_low_water(&socket, options.send_buffer_bytes)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Limits what the kernel keeps unsent, so that pending output stays in shared payloads.
fn set_unsent_low_water(socket: &Socket, bytes: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open while `socket` is borrowed, and the pointer and length describe `value`.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            std::ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    const OPTIONS: ListenerOptions = ListenerOptions { backlog: 128, send_buffer_bytes: 65536 };

    #[test]
    fn accepted_sockets_inherit_what_the_listener_is_set_to() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), OPTIONS).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let accepted = Socket::from(listener.accept().unwrap().0);
        assert!(accepted.tcp_nodelay().unwrap());
        // Linux doubles the size that is asked for, to leave room for its own book-keeping.
        assert_eq!(accepted.send_buffer_size().unwrap(), 2 * 65536);
    }

    #[test]
    fn two_listeners_share_a_port_and_the_wildcard_takes_both_families() {
        let first = match listen((Ipv6Addr::UNSPECIFIED, 0).into(), OPTIONS) {
            Ok(listener) => listener,
            Err(error) => panic!("this machine has no IPv6: {error}"),
        };
        let port = first.local_addr().unwrap().port();
        let _second = listen((Ipv6Addr::UNSPECIFIED, port).into(), OPTIONS).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    }
}
