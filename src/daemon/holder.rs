//! Who already serves: what the lock file or the port tells about another gateway.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long another gateway may take to say its process id: this one must be gone within 1 s.
const PATIENCE: Duration = Duration::from_millis(300);

/// The lock file's JSON in words.
pub(super) fn describe(holder: &str) -> String {
    let value: Value = serde_json::from_str(holder).unwrap_or_default();
    match (value["pid"].as_u64(), value["url"].as_str()) {
        (Some(pid), Some(url)) => format!("pid {pid} at {url}"),
        (Some(pid), None) => format!("pid {pid}"),
        _ => "it is just starting".to_owned(),
    }
}

/// Asks `/healthz` on a taken port. `None` if no gateway answers there.
pub(super) fn pid_at(address: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // A reset behind the answer does not matter, nor does a program that never stops talking.
    let _ = stream.take(2_048).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str::<Value>(body).ok()?["pid"].as_u64()
}
