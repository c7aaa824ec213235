//! Questions to name servers and their answers, as bytes (RFC 1035), and what /etc/resolv.conf says.
//!
//! A static program has no name service switch: glibc's would load libraries of the container, which is
//! the workload's, into the agent. So names are asked for here. Answers are strangers' bytes: what is no
//! answer to the question is nothing.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use super::limits::{DNS_SEARCHED_MAX, DNS_SERVERS_MAX, DNS_WAIT};

/// Where the settings are.
pub const RESOLV_FILE: &str = "/etc/resolv.conf";

/// Which name servers are asked, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// The servers, the first one first.
    pub servers: Vec<IpAddr>,
    /// How long one may take.
    pub wait: Duration,
    /// How often all of them are asked.
    pub rounds: usize,
    /// What short names are tried with.
    search: Vec<String>,
    /// A name with so many dots is tried as it is first.
    dots: usize,
}

/// What kind of address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The addresses, perhaps none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    Unknown,
    /// There is more than fits into a datagram.
    Truncated,
    /// It cannot say, for this reason (RCODE).
    Failed(u8),
}

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// The class of everything.
const INTERNET: u16 = 1;

impl Resolver {
    /// Reads the text of /etc/resolv.conf. What is not understood in it is nothing.
    pub fn parse(text: &[u8]) -> Self {
        let (mut servers, mut search) = (Vec::new(), Vec::new());
        let (mut dots, mut wait, mut rounds) = (1, DNS_WAIT, 2);
        for line in String::from_utf8_lossy(text).lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    servers.extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => {
                    let suffixes = words.map(|word| word.trim_matches('.').to_owned());
                    search = suffixes.filter(|word| !word.is_empty()).collect();
                }
                Some("options") => words.for_each(|option| match option.split_once(':') {
                    Some(("ndots", n)) => dots = n.parse().unwrap_or(dots).min(15),
                    Some(("attempts", n)) => rounds = n.parse().unwrap_or(rounds).clamp(1, 5),
                    Some(("timeout", n)) => {
                        let seconds = n.parse().ok().map(Duration::from_secs);
                        wait = seconds.unwrap_or(wait).clamp(Duration::from_secs(1), DNS_WAIT);
                    }
                    _ => {}
                }),
                _ => {}
            }
        }
        if servers.is_empty() {
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        servers.truncate(DNS_SERVERS_MAX);
        search.truncate(DNS_SEARCHED_MAX);
        Self { servers, wait, rounds, search, dots }
    }

    /// The whole names that a name may stand for, in the order in which they are tried.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let longer = self.search.iter().map(|suffix| format!("{name}.{suffix}"));
        let own = std::iter::once(name.to_owned());
        match name.matches('.').count() >= self.dots {
            true => own.chain(longer).collect(),
            false => longer.chain(own).collect(),
        }
    }
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }

    fn address(self, bytes: &[u8]) -> Option<IpAddr> {
        match self {
            Self::V4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
            Self::V6 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        }
    }
}

/// The message that asks for a name's addresses; `None` if it cannot be a name.
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend(id.to_be_bytes());
    // A standard query that wants the server to ask others, with one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return None;
        }
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.code().to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    Some(message)
}

/// What a message says to a question; `None` if it is no answer to it.
pub fn answer(message: &[u8], question: &[u8], kind: Kind) -> Option<Answer> {
    let (header, rest) = message.split_at_checked(HEADER_BYTES)?;
    let (asked_header, asked) = question.split_at_checked(HEADER_BYTES)?;
    // The same number, an answer to a standard query, with our question.
    let ours = header[..2] == asked_header[..2] && header[2] & 0xf8 == 0x80;
    let (repeated, mut records) = rest.split_at_checked(asked.len())?;
    if !ours || header[4..6] != [0, 1] || !repeated.eq_ignore_ascii_case(asked) {
        return None;
    }
    if header[2] & 2 != 0 {
        return Some(Answer::Truncated);
    }
    match header[3] & 0xf {
        0 => {}
        3 => return Some(Answer::Unknown),
        code => return Some(Answer::Failed(code)),
    }
    let mut addresses = Vec::new();
    for _ in 0..u16::from_be_bytes([header[6], header[7]]) {
        let (record, after) = record(records)?;
        records = after;
        // Others are names on the way to the address.
        if record.kind == kind.code() && record.class == INTERNET {
            addresses.push(kind.address(record.data)?);
        }
    }
    Some(Answer::Addresses(addresses))
}

struct Record<'a> {
    kind: u16,
    class: u16,
    data: &'a [u8],
}

/// The first of some records, and the others.
fn record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let fixed = skip_name(bytes)?;
    let (fixed, rest) = fixed.split_at_checked(10)?;
    let short = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let (data, after) = rest.split_at_checked(usize::from(short(8)))?;
    Some((Record { kind: short(0), class: short(2), data }, after))
}

/// What follows a name: labels, and at the end nothing or a pointer, which is not followed.
fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, rest) = bytes.split_first()?;
        match length {
            0 => return Some(rest),
            0xc0.. => return rest.get(1..),
            1..=63 => bytes = rest.get(usize::from(length)..)?,
            64..0xc0 => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question` with these records after a name on the way.
    fn answered(question: &[u8], flags: [u8; 2], kind: u16, addresses: &[&[u8]]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&flags);
        message[7] = u8::try_from(addresses.len()).unwrap() + 1;
        // CNAME: 1-x of the question's name.
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 12]);
        for address in addresses {
            message.extend([1, b'x', 0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 9, 0, u8::try_from(address.len()).unwrap()]);
            message.extend(*address);
        }
        message
    }

    #[test]
    fn addresses_are_found_behind_other_names() {
        let asked = question(7, "a.example", Kind::V4).unwrap();
        let message = answered(&asked, [0x81, 0x80], 1, &[&[10, 0, 0, 1], &[10, 0, 0, 2]]);
        let found = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(answer(&message, &asked, Kind::V4), Some(Answer::Addresses(found)));
        let asked = question(7, "a.example", Kind::V6).unwrap();
        let mut v6 = [0; 16];
        v6[15] = 1;
        let message = answered(&asked, [0x81, 0x80], 28, &[&v6]);
        let found = vec!["::1".parse().unwrap()];
        assert_eq!(answer(&message, &asked, Kind::V6), Some(Answer::Addresses(found)));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_nothing() {
        let asked = question(7, "a.example", Kind::V4).unwrap();
        let good = answered(&asked, [0x81, 0x80], 1, &[&[10, 0, 0, 1]]);
        let changed = |at: usize, to: u8| {
            let mut message = good.clone();
            message[at] = to;
            answer(&message, &asked, Kind::V4)
        };
        for (at, to) in [(1, 8), (2, 0x01), (2, 0x91), (5, 2), (13, b'b')] {
            assert_eq!(changed(at, to), None, "{at}");
        }
        // Servers may repeat the name in other letters.
        assert!(changed(13, b'A').is_some());
        assert_eq!(changed(2, 0x83), Some(Answer::Truncated));
        assert_eq!(changed(3, 3), Some(Answer::Unknown));
        assert_eq!(changed(3, 2), Some(Answer::Failed(2)));
        for length in 0..good.len() {
            assert_eq!(answer(&good[..length], &asked, Kind::V4), None, "{length}");
        }
    }

    #[test]
    fn what_can_be_a_name() {
        let long = ["x".repeat(63).as_str(); 4].join(".");
        for bad in ["", ".", "a..b", ".a", &"x".repeat(64), &long] {
            assert_eq!(question(1, bad, Kind::V4), None, "{bad:?}");
        }
        assert!(question(1, &"x".repeat(63), Kind::V4).is_some());
        assert!(question(1, &long[3..], Kind::V4).is_some());
    }

    #[test]
    fn settings_are_read_and_bounded() {
        let text = b"# x\nnameserver 10.0.0.10 # y\nnameserver fe80::1%eth0\nnameserver ::1\n\
            search ns.svc.cluster.local. cluster.local\noptions ndots:5 timeout:99 attempts:1 rotate\n\xff";
        let resolver = Resolver::parse(text);
        let servers = ["10.0.0.10", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(resolver.servers, servers);
        assert_eq!((resolver.rounds, resolver.wait), (1, DNS_WAIT));
        let near = ["r.ns.svc.cluster.local", "r.cluster.local", "r"];
        assert_eq!(resolver.candidates("r"), near);
        assert_eq!(resolver.candidates("r."), ["r"]);
        let far = resolver.candidates("a.b.c.d.e.f");
        assert_eq!(far[0], "a.b.c.d.e.f");
        let none = Resolver::parse(b"");
        assert_eq!(none.servers, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert_eq!(
            (none.candidates("r"), none.candidates("r.x")),
            (vec!["r".into()], vec!["r.x".into()])
        );
        let many =
            Resolver::parse("nameserver 1.1.1.1\nsearch a b c d e f g h i\n".repeat(9).as_bytes());
        assert_eq!(many.servers.len(), DNS_SERVERS_MAX);
        assert_eq!(many.candidates("r").len(), DNS_SEARCHED_MAX + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(rest: Vec<u8>, counts: [u8; 2], settings: Vec<u8>) {
            let asked = question(7, "a", Kind::V4).unwrap();
            let mut message = asked.clone();
            message[2] = 0x81;
            message[6..8].copy_from_slice(&counts);
            message.extend(rest);
            answer(&message, &asked, Kind::V4);
            Resolver::parse(&settings).candidates("a");
        }
    }
}
