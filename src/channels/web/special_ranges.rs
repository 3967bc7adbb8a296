//! Addresses that no host of the public network has: the special ranges of RFC 6890 and its successors,
//! and addresses that wrap one of these. Pure, and the only place that lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const OWN: &str = "this machine's own address";
const PRIVATE: &str = "an address of a private network";
const LINK: &str = "an address of the local link";
const PROTOCOLS: &str = "an address that protocols reserve";
const EXAMPLE: &str = "an address for documentation";
const MULTICAST: &str = "a multicast address";
const RESERVED: &str = "a reserved address";

/// Ranges of IPv4: the first address, how many of its bits count, and what the range is for.
const V4: [(Ipv4Addr, u32, &str); 15] = [
    // A connection to `0.0.0.0` is one to this machine.
    (Ipv4Addr::UNSPECIFIED, 8, OWN),
    (Ipv4Addr::new(10, 0, 0, 0), 8, PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "an address that a provider's customers share"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, OWN),
    (Ipv4Addr::new(169, 254, 0, 0), 16, LINK),
    (Ipv4Addr::new(172, 16, 0, 0), 12, PRIVATE),
    (Ipv4Addr::new(192, 0, 0, 0), 24, PROTOCOLS),
    (Ipv4Addr::new(192, 0, 2, 0), 24, EXAMPLE),
    (Ipv4Addr::new(192, 88, 99, 0), 24, PROTOCOLS),
    (Ipv4Addr::new(192, 168, 0, 0), 16, PRIVATE),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for measurements"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, EXAMPLE),
    (Ipv4Addr::new(203, 0, 113, 0), 24, EXAMPLE),
    (Ipv4Addr::new(224, 0, 0, 0), 4, MULTICAST),
    (Ipv4Addr::new(240, 0, 0, 0), 4, RESERVED),
];

/// Ranges of IPv6, in the same form.
const V6: [(Ipv6Addr, u32, &str); 14] = [
    (Ipv6Addr::UNSPECIFIED, 128, OWN),
    (Ipv6Addr::LOCALHOST, 128, OWN),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, PRIVATE),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, "an address that leads nowhere"),
    // With Teredo, which wraps addresses of IPv4 behind a server of its own.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, PROTOCOLS),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, EXAMPLE),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, EXAMPLE),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, PRIVATE),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, LINK),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, PRIVATE),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, MULTICAST),
    // Everything else outside of 2000::/3, which is all that was given out so far.
    (Ipv6Addr::UNSPECIFIED, 3, RESERVED),
    (Ipv6Addr::new(0x4000, 0, 0, 0, 0, 0, 0, 0), 2, RESERVED),
    (Ipv6Addr::new(0x8000, 0, 0, 0, 0, 0, 0, 0), 1, RESERVED),
];

/// Ranges whose addresses stand for one of IPv4, with how many bits lie behind that.
const WRAPPERS: [(Ipv6Addr, u32, u32); 3] = [
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 0),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 0),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 80),
];

/// What an address is, unless a host of the public network may have it.
pub(crate) fn special_use(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_use_v4(address),
        IpAddr::V6(address) => special_use_v6(address),
    }
}

fn special_use_v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |start: Ipv4Addr, bits: u32| (address.to_bits() ^ start.to_bits()) >> (32 - bits) == 0;
    V4.iter().find(|(start, bits, _)| within(*start, *bits)).map(|(_, _, purpose)| *purpose)
}

fn special_use_v6(address: Ipv6Addr) -> Option<&'static str> {
    let within = |start: Ipv6Addr, bits: u32| (address.to_bits() ^ start.to_bits()) >> (128 - bits) == 0;
    if let Some((_, _, behind)) = WRAPPERS.iter().find(|(start, bits, _)| within(*start, *bits)) {
        let [.., a, b, c, d] = (address.to_bits() >> behind).to_be_bytes();
        return special_use_v4(Ipv4Addr::new(a, b, c, d));
    }
    V6.iter().find(|(start, bits, _)| within(*start, *bits)).map(|(_, _, purpose)| *purpose)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::{V4, V6, special_use};

    fn special(address: &str) -> bool {
        special_use(address.parse().unwrap()).is_some()
    }

    #[test]
    fn ranges_begin_and_end_where_they_should() {
        let inside = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
            169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.255 192.0.2.0 192.88.99.1 \
            192.168.255.255 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.0 255.255.255.255";
        for address in inside.split(' ') {
            assert!(special(address), "{address}");
        }
        let outside = "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
            169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.88.100.0 \
            192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.114.0 223.255.255.255 \
            149.154.167.220";
        for address in outside.split(' ') {
            assert!(!special(address), "{address}");
        }
        let inside = ":: ::1 ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:0:8.8.8.8 64:ff9b::10.0.0.1 \
            64:ff9b:1::8.8.8.8 100::1 2001::1 2001:1ff:ffff:: 2001:db8::1 2002:c0a8:1::1 3fff::1 \
            4000::1 5f00::1 8000::1 fbff::1 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 ff02::1";
        for address in inside.split(' ') {
            assert!(special(address), "{address}");
        }
        let outside = "::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:200::1 2001:db9::1 2001:67c:4e8:f004::9 \
            2002:808:808::1 3fff:1000::1";
        for address in outside.split(' ') {
            assert!(!special(address), "{address}");
        }
    }

    #[test]
    fn whatever_wraps_an_address_is_judged_by_it() {
        for (start, bits, _) in V4 {
            let last = Ipv4Addr::from_bits(start.to_bits() | (u32::MAX >> bits));
            for v4 in [start, last, Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(149, 154, 167, 220)] {
                let [a, b, c, d] = v4.octets().map(u16::from);
                let (high, low) = ((a << 8) | b, (c << 8) | d);
                let alone = special_use(IpAddr::V4(v4));
                for wrapped in [
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2002, high, low, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff),
                ] {
                    assert_eq!(special_use(IpAddr::V6(wrapped)), alone, "{wrapped}");
                }
            }
        }
    }

    #[test]
    fn the_tables_name_networks() {
        assert!(V4.iter().all(|(start, bits, _)| start.to_bits().trailing_zeros() >= 32 - bits));
        assert!(V6.iter().all(|(start, bits, _)| start.to_bits().trailing_zeros() >= 128 - bits));
    }
}
