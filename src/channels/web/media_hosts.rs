//! Hosts from which files may be downloaded: those of the public web, and those of this network that the
//! config names. Judges the text of a host; `special_ranges` judges addresses. Pure, but for the machine's
//! own name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::channels::web::special_ranges::special_use;

/// Hosts of this network that `gateway.mediaHosts` names, each with its port, or with any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MediaHosts(Vec<(String, Option<u16>)>);

impl MediaHosts {
    /// From the config's entries. Also returns those that name no host.
    pub(crate) fn new(entries: &[String]) -> (Self, Vec<&str>) {
        let (mut hosts, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries {
            match host_and_port(entry) {
                Some(host) => hosts.push(host),
                None => wrong.push(entry.as_str()),
            }
        }
        (Self(hosts), wrong)
    }

    /// Whether the config names that host: as it is spelled there, since another spelling may be read as
    /// another host.
    pub(crate) fn has(&self, host: &str, port: u16) -> bool {
        let host = plain(host);
        self.0.iter().any(|(name, only)| *name == host && only.is_none_or(|only| only == port))
    }
}

/// `NAME`, `NAME:PORT`, and addresses of IPv6 with or without brackets.
fn host_and_port(entry: &str) -> Option<(String, Option<u16>)> {
    if entry.parse::<IpAddr>().is_ok() {
        return Some((plain(entry), None));
    }
    let (host, port) = match entry.rsplit_once(':').filter(|_| !entry.ends_with(']')) {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let is_address = host.starts_with('[') && plain(host).parse::<IpAddr>().is_ok();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (is_address || !host.is_empty() && host.bytes().all(is_name)).then(|| (plain(host), port))
}

/// A host in the one form in which hosts are compared.
fn plain(host: &str) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase(),
    }
}

/// The addresses that a host's text stands for, however it is spelled; none of a name. There are two where
/// readers differ over zeros in front of a number.
pub(crate) fn spelled_addresses(host: &str) -> Vec<IpAddr> {
    let host = plain(host);
    // Behind `%` stands the network link on which an address of IPv6 is.
    let bare = host.split('%').next().unwrap_or_default();
    if let Ok(address) = bare.parse() {
        return vec![address];
    }
    let mut addresses: Vec<IpAddr> = [8, 10].into_iter().filter_map(|radix| loose_v4(bare, radix)).collect();
    addresses.dedup();
    addresses
}

/// An address as the C library reads it: one to four numbers, the last of which fills the rest.
fn loose_v4(text: &str, radix_of_zero: u32) -> Option<IpAddr> {
    // Rust's parser would take a sign.
    if text.contains('+') {
        return None;
    }
    let number = |part: &str| match part.strip_prefix("0x") {
        Some("") => Some(0),
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u32::from_str_radix(part, radix_of_zero).ok(),
        None => part.parse().ok(),
    };
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    let rest_bits = 32_u32.checked_sub(8 * u32::try_from(first.len()).ok()?).filter(|bits| *bits > 0)?;
    if first.iter().any(|byte| *byte > 255) || u64::from(*last) >> rest_bits > 0 {
        return None;
    }
    let high = first.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte)) << rest_bits;
    Some(Ipv4Addr::from_bits(u32::try_from(high).ok()? | last).into())
}

/// Fails with what is known against an address: that no host of the public network has it.
pub(crate) fn check_address(address: IpAddr) -> Result<(), String> {
    special_use(address).map_or(Ok(()), |purpose| Err(format!("{address} is {purpose}")))
}

/// Ends of names that mean something in one network only.
const LOCAL_SUFFIXES: [&str; 9] =
    ["localhost", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa"];

/// Fails with what is known against a host by the form of its text, before anybody looks anything up.
pub(crate) fn check_form(host: &str) -> Result<(), String> {
    let is_host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').is_some_and(|it| it.parse::<Ipv6Addr>().is_ok()),
        None => !spelled_addresses(host).is_empty() || is_name(&plain(host)),
    };
    // Readers differ over what such a thing is, and some of them may take it for an address.
    if is_host { Ok(()) } else { Err("it is neither a name nor an address".to_owned()) }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let last = name.rsplit('.').next().unwrap_or_default();
    name.bytes().all(is_part) && last.starts_with(|first: char| !first.is_ascii_digit())
}

/// Fails with what is known against a host by its text alone, where somebody else will look it up.
pub(crate) fn check_text(host: &str) -> Result<(), String> {
    check_form(host)?;
    let addresses = spelled_addresses(host);
    if !addresses.is_empty() {
        return addresses.into_iter().try_for_each(check_address);
    }
    let name = plain(host);
    let ends_with =
        |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let own_name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    if !name.contains('.') || name == own_name || LOCAL_SUFFIXES.iter().any(|end| ends_with(end)) {
        return Err("such a name belongs to a local network".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{MediaHosts, check_text, spelled_addresses};

    #[test]
    fn every_spelling_of_an_address_is_that_address() {
        // Numbers that look random and are the same each time.
        let mut number = 0x9E37_79B9_u32;
        for _ in 0..2_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let address = Ipv4Addr::from_bits(number);
            let [a, b, c, d] = address.octets();
            let (ab, cd) = ((u32::from(a) << 8) | u32::from(b), (u32::from(c) << 8) | u32::from(d));
            let bcd = number & 0xff_ffff;
            for spelling in [
                format!("{a}.{b}.{c}.{d}"),
                format!("{a}.{b}.{c}.{d}."),
                format!("{a}.{b}.{cd}"),
                format!("{a}.{bcd}"),
                format!("{number}"),
                format!("0x{number:x}"),
                format!("0X{number:08X}"),
                format!("0x{a:x}.0x{b:02X}.{c}.0x{d:x}"),
                format!("0{a:o}.0{b:03o}.0{c:o}.0{d:o}"),
                format!("0{number:o}"),
                format!("0x{a:x}.{b}.0{cd:o}"),
                format!("[::ffff:{address}]"),
                format!("[0:0:0:0:0:FFFF:{ab:04x}:{cd:x}]"),
                format!("::ffff:{ab:x}:{cd:x}%eth0"),
            ] {
                let found = spelled_addresses(&spelling);
                let is_it = |found: &std::net::IpAddr| found.to_canonical() == address;
                assert!(found.iter().any(is_it), "{spelling} is {found:?} and not {address}");
            }
        }
    }

    #[test]
    fn texts_are_judged_in_every_reading() {
        for host in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            // The one reads 8 here, the other 10.
            "010.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "nas",
            "nas.lan",
            "x.y.home.arpa",
            "metadata.google.internal",
            "printer.local",
            "1.2.3.4.5",
            "300.1.1.1",
            "4294967296",
            "+8.8.8.8",
            "0x100000000",
            "1.2.3.0xg",
            "%31.example.com",
            "",
            ".",
            "[fe80::1%25eth0]",
            "[::1",
            "[1::2::3]",
            "[2606:4700::1111%25eth0]",
            "[example.com]",
            "[8.8.8.8]",
        ] {
            assert!(check_text(host).is_err(), "{host}");
        }
        for host in [
            "example.com",
            "EXAMPLE.com.",
            "8.8.8.8",
            "8.526344",
            "134744072",
            "[2606:4700::1111]",
            "local.example.com",
            "localhost.example.com",
            "xn--bcher-kva.example",
            "a_b.example",
            "7.example",
        ] {
            assert_eq!(check_text(host), Ok(()), "{host}");
        }
    }

    #[test]
    fn the_config_names_hosts_with_or_without_a_port() {
        let entries = ["NAS.lan", "127.0.0.1:8080", "[::1]:80", "fd00::1", "[fd00::2]", "127.1"];
        let entries = entries.map(str::to_owned);
        let (hosts, wrong) = MediaHosts::new(&entries);
        assert!(wrong.is_empty(), "{wrong:?}");
        for (host, port, named) in [
            ("nas.lan", 80, true),
            ("Nas.Lan.", 9, true),
            ("x.nas.lan", 80, false),
            ("127.0.0.1", 8080, true),
            ("127.0.0.1", 80, false),
            ("[::1]", 80, true),
            ("[0:0:0:0:0:0:0:1]", 80, true),
            ("[::1]", 81, false),
            ("[fd00::1]", 1, true),
            ("[fd00::2]", 1, true),
            ("127.1", 5, true),
            ("127.0.1", 5, false),
        ] {
            assert_eq!(hosts.has(host, port), named, "{host}:{port}");
        }
        let entries = [
            "",
            "http://nas.lan",
            "nas lan",
            "nas.lan:",
            "nas.lan:x",
            ":80",
            "nas/x",
            "[::1",
            "[nas]",
            "a:70000",
            "*",
        ];
        let entries = entries.map(str::to_owned);
        let (hosts, wrong) = MediaHosts::new(&entries);
        assert_eq!(wrong, entries, "{hosts:?}");
    }
}
