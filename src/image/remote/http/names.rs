//! Addresses of names: of /etc/hosts, and else of the name servers of /etc/resolv.conf.

use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::LinkError;
use crate::{
    core::{
        dns::{self, Answer, Kind, RESOLV_FILE, Resolver},
        hosts::{self, HOSTS_FILE},
        limits::RESOLV_BYTES_MAX,
    },
    os::work::{Share, Work},
};

/// Where name servers listen.
const PORT: u16 = 53;
/// What fits into a datagram of a server that was told nothing else.
const DATAGRAM_BYTES: usize = 512;

/// The addresses of `host`, IPv4 first.
pub(super) async fn addresses(host: &str, work: &Work) -> Result<Vec<IpAddr>, LinkError> {
    let name = host.to_owned();
    let read = work.run(Share::File, move || {
        // Without the file there are still literals, `localhost` and name servers.
        let known = hosts::addresses(&name, &std::fs::read(HOSTS_FILE).unwrap_or_default());
        let mut settings = Vec::new();
        if known.is_empty() {
            // Without this one a server on this machine is asked.
            let _ = File::open(RESOLV_FILE)
                .and_then(|file| file.take(RESOLV_BYTES_MAX).read_to_end(&mut settings));
        }
        (known, Resolver::parse(&settings))
    });
    match read.await {
        (known, resolver) if known.is_empty() => look_up(host, &resolver, PORT).await,
        (known, _) => Ok(known),
    }
}

/// Asks name servers for every name that `host` may stand for, until one has an address.
async fn look_up(host: &str, resolver: &Resolver, port: u16) -> Result<Vec<IpAddr>, LinkError> {
    let mut failed = None;
    for name in resolver.candidates(host) {
        let (v4, v6) = tokio::join!(
            ask(&name, Kind::V4, resolver, port),
            ask(&name, Kind::V6, resolver, port)
        );
        let mut found = Vec::new();
        for answer in [v4, v6] {
            match answer {
                Ok(addresses) => found.extend(addresses),
                Err(error) => failed = Some(error.to_string()),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let host = host.to_owned();
    Err(failed.map_or(LinkError::Unknown(host.clone()), |why| LinkError::Name { host, why }))
}

/// Asks one server after the other until one can say.
async fn ask(name: &str, kind: Kind, resolver: &Resolver, port: u16) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
    let Some(question) = dns::question(u16::from_be_bytes(id), name, kind) else {
        return Ok(Vec::new());
    };
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..resolver.rounds {
        for server in &resolver.servers {
            let server = SocketAddr::new(*server, port);
            match timeout(resolver.wait, exchange(server, &question, kind)).await {
                Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                Ok(Ok(Answer::Unknown)) => return Ok(Vec::new()),
                Ok(Ok(Answer::Truncated)) => last = said(server, "more than it can send"),
                Ok(Ok(Answer::Failed(code))) => last = said(server, &format!("error {code}")),
                Ok(Err(error)) => last = said(server, &error.to_string()),
                Err(_) => last = said(server, "nothing"),
            }
        }
    }
    Err(last)
}

fn said(server: SocketAddr, what: &str) -> io::Error {
    io::Error::other(format!("the name server {server} answers {what}"))
}

/// One question and its answer: in datagrams, and in a stream where they are too small.
async fn exchange(server: SocketAddr, question: &[u8], kind: Kind) -> io::Result<Answer> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = [0; DATAGRAM_BYTES];
    loop {
        let count = socket.recv(&mut buffer).await?;
        // Anybody may send us something that is none.
        match dns::answer(&buffer[..count], question, kind) {
            Some(Answer::Truncated) => return in_stream(server, question, kind).await,
            Some(answer) => return Ok(answer),
            None => {}
        }
    }
}

async fn in_stream(server: SocketAddr, question: &[u8], kind: Kind) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    dns::answer(&message, question, kind).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a server of a test does with questions.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Does {
        /// Answers those for `r.near` by 10.0.0.1, others by saying that there is no such name.
        Answer,
        /// The same after strangers' bytes, and only in a stream.
        Stream,
        Fail,
    }

    fn reply(question: &[u8], does: Does) -> Vec<u8> {
        let mut message = question.to_vec();
        let known = question[12..].starts_with(b"\x01r\x04near\0\x00\x01");
        message[2] = 0x81;
        message[3] = if does == Does::Fail { 2 } else { 3 };
        if known && does != Does::Fail {
            message[3] = 0;
            message[7] = 1;
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]);
        }
        message
    }

    /// A server at this address; the port is the same in datagrams and in streams.
    async fn server(ip: &str, port: u16, does: Does) -> u16 {
        let (stream, datagrams) = loop {
            let stream = TcpListener::bind((ip, port)).await.unwrap();
            let port = stream.local_addr().unwrap().port();
            if let Ok(datagrams) = UdpSocket::bind((ip, port)).await {
                break (stream, datagrams);
            }
        };
        let port = stream.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (count, from) = datagrams.recv_from(&mut buffer).await.unwrap();
                let mut message = reply(&buffer[..count], does);
                if does == Does::Stream {
                    datagrams.send_to(b"nonsense", from).await.unwrap();
                    message[2] |= 2;
                }
                datagrams.send_to(&message, from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = stream.accept().await.unwrap();
                let mut question = vec![0; usize::from(socket.read_u16().await.unwrap())];
                socket.read_exact(&mut question).await.unwrap();
                let message = reply(&question, does);
                socket.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
                socket.write_all(&message).await.unwrap();
            }
        });
        port
    }

    fn resolver(servers: &str) -> Resolver {
        Resolver::parse(format!("{servers}\nsearch far near\noptions timeout:1").as_bytes())
    }

    #[tokio::test]
    async fn a_short_name_is_found_in_the_second_domain() {
        for does in [Does::Answer, Does::Stream] {
            let port = server("127.0.0.1", 0, does).await;
            let resolver = resolver("nameserver 127.0.0.1");
            let found = look_up("r", &resolver, port).await.unwrap();
            assert_eq!(found, [IpAddr::from([10, 0, 0, 1])]);
            let error = look_up("other", &resolver, port).await.unwrap_err();
            assert_eq!(error, LinkError::Unknown("other".into()));
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_say_is_not_the_last_one() {
        let port = server("127.0.0.1", 0, Does::Answer).await;
        server("127.0.0.2", port, Does::Fail).await;
        // Nobody is at the first one.
        let both = resolver("nameserver 127.0.0.3\nnameserver 127.0.0.2\nnameserver 127.0.0.1");
        assert_eq!(look_up("r", &both, port).await.unwrap(), [IpAddr::from([10, 0, 0, 1])]);
        let error = look_up("r", &resolver("nameserver 127.0.0.2"), port).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("127.0.0.2:{port} answers error 2")),
            "{error}"
        );
    }
}
