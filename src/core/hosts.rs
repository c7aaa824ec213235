//! Host names as /etc/hosts knows them.
//!
//! A static program has no name service switch, and an agent should not wait for a DNS server
//! before it listens: literals, `localhost` and /etc/hosts are all it looks at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the names are.
pub const HOSTS_FILE: &str = "/etc/hosts";

/// Every address that `name` has: its own if it is a literal (`::1` and `[::1]` alike), those of
/// `hosts`, the text of /etc/hosts, otherwise; `localhost` always has one.
///
/// IPv4 addresses come first, else the order is that of the file.
pub fn addresses(name: &str, hosts: &[u8]) -> Vec<IpAddr> {
    let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    if let Some(v6) = literal {
        return v6.parse::<Ipv6Addr>().map(IpAddr::from).into_iter().collect();
    }
    if let Ok(address) = name.parse() {
        return vec![address];
    }
    let mut found: Vec<IpAddr> =
        hosts.split(|b| *b == b'\n').filter_map(|line| line_address(name, line)).collect();
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// The address of one line, if the line gives it to `name`.
fn line_address(name: &str, line: &[u8]) -> Option<IpAddr> {
    let line = line.split(|b| *b == b'#').next().unwrap_or_default();
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTS: &[u8] = b"# comment\n::1 localhost ip6-localhost\n127.0.0.1\tlocalhost\n\
        10.0.0.7 db db.local # not-this\nbad db\n\xff\xff db\n";

    #[test]
    fn names_and_literals() {
        for (name, want) in [
            ("127.0.0.1", vec!["127.0.0.1"]),
            ("::1", vec!["::1"]),
            ("[::1]", vec!["::1"]),
            ("[127.0.0.1]", vec![]),
            ("localhost", vec!["127.0.0.1", "::1"]),
            ("DB.local", vec!["10.0.0.7"]),
            ("not-this", vec![]),
            ("", vec![]),
        ] {
            let want: Vec<IpAddr> = want.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(addresses(name, HOSTS), want, "{name:?}");
        }
        assert_eq!(addresses("localhost", b""), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }

    proptest! {
        #[test]
        fn any_file_is_read_without_a_panic(name in "\\PC{0,8}", hosts: Vec<u8>) {
            addresses(&name, &hosts);
        }
    }
}
