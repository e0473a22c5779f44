//! Free TCP ports on loopback, below the range from which the kernel takes the source ports of outgoing connections:
//! a broker that is killed and started again must find its port still free.

use std::net::{Ipv4Addr, TcpListener};

const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// `N` ports that were free a moment ago. Somebody may take one before it is used: whoever starts a server on them
/// tries again with others when that fails.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    while held.len() < N {
        let port = anywhere();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            ports[held.len()] = port;
            held.push(listener);
        }
    }
    ports
}

/// A port anywhere in the range, so that test processes side by side do not try the same ones in the same order.
fn anywhere() -> u16 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    let offset = (high ^ low) % u64::from(LAST - FIRST);
    FIRST + u16::try_from(offset).unwrap_or_default()
}
