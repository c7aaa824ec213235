//! Listening sockets: bound before the agent says that it listens, gone when it ends.
//!
//! A Unix socket has mode 0600 before it has a name. A file that is in its way is removed only if
//! it is a socket that nobody answers, and removed at the end only if it is still ours.

use std::{
    fmt, fs, io, net,
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
        sockopt,
    },
};
use tokio::net::{TcpListener, UnixListener};

use super::address::Address;
use crate::core::limits::ACCEPT_BACKLOG;

/// One bound and listening socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    address: Address,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    /// The name goes before the socket: once nobody answers there it may be another one's.
    Unix(#[allow(dead_code)] SocketFile, UnixListener),
}

/// Who may connect to a Unix socket as far as its file mode decides; the peer's credentials are
/// checked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Mode 0600: the agent's own user and root.
    Own,
    /// Mode 0666: other users are admitted by their credentials.
    Others,
}

/// Why nothing listens at an address.
#[derive(Debug)]
pub enum ListenError {
    /// Somebody answers at the path of the Unix socket.
    InUse(PathBuf),
    /// The path of the Unix socket is taken by something that is no socket.
    NoSocket(PathBuf),
    /// The kernel refused.
    Io(Address, io::Error),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => {
                write!(f, "listen at unix://{}: another process answers there", path.display())
            }
            Self::NoSocket(path) => {
                write!(f, "listen at unix://{}: the file there is no socket", path.display())
            }
            Self::Io(address, error) => write!(f, "listen at {address}: {error}"),
        }
    }
}

impl std::error::Error for ListenError {}

impl Listener {
    /// Binds `address` and listens. Must be called on the reactor.
    pub fn bind(address: &Address, reach: Reach) -> Result<Self, ListenError> {
        let refused = |error: io::Error| ListenError::Io(address.clone(), error);
        match address {
            Address::Tcp(socket) => {
                let listener = bind_tcp(*socket).map_err(refused)?;
                let local = listener.local_addr().map_err(refused)?;
                let socket = Socket::Tcp(listener);
                Ok(Self { socket, address: Address::Tcp(local) })
            }
            Address::Unix(path) => {
                let (socket, file) = match bind_unix(path, reach) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        let _alone = lock_directory(path)?;
                        remove_stale(path)?;
                        bind_unix(path, reach).map_err(refused)?
                    }
                    bound => bound.map_err(refused)?,
                };
                let listener = std::os::unix::net::UnixListener::from(socket);
                let listener = UnixListener::from_std(listener).map_err(refused)?;
                let socket = Socket::Unix(file, listener);
                Ok(Self { socket, address: address.clone() })
            }
        }
    }

    /// Where it listens: a port that the kernel chose is filled in.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

fn bind_tcp(address: net::SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()?
    } else {
        tokio::net::TcpSocket::new_v6()?
    };
    // A restarted agent must not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG)
}

fn bind_unix(path: &Path, reach: Reach) -> io::Result<(OwnedFd, SocketFile)> {
    let name = SocketAddrUnix::new(path)?;
    let socket = unix_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let mode = match reach {
        Reach::Own => Mode::from_raw_mode(0o600),
        Reach::Others => Mode::from_raw_mode(0o666),
    };
    // The file gets the mode of the socket's inode: there is no moment at which it is wider.
    rustix::fs::fchmod(&socket, mode)?;
    bind(&socket, &name)?;
    let file = SocketFile::new(path)?;
    // The umask took its bits off, and not every kernel looks at the inode's mode.
    fs::set_permissions(path, fs::Permissions::from_mode(mode.as_raw_mode()))?;
    listen(&socket, i32::try_from(ACCEPT_BACKLOG).unwrap_or(i32::MAX))?;
    Ok((socket, file))
}

fn unix_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Holds off other agents that look at the same directory: between the look at a stale socket
/// and its removal another one could have bound it. Without the right to open it, no lock.
fn lock_directory(path: &Path) -> Result<Option<fs::File>, ListenError> {
    let Some(Ok(directory)) = path.parent().map(fs::File::open) else { return Ok(None) };
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(ListenError::InUse(path.to_path_buf())),
        Ok(()) | Err(_) => Ok(Some(directory)),
    }
}

/// Removes the socket at `path` if nobody answers there.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let refused = |error: io::Error| ListenError::Io(Address::Unix(path.to_path_buf()), error);
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_path_buf()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused(error)),
    }
    // Non-blocking: a live listener whose backlog is full answers EAGAIN.
    let probe = unix_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(refused)?;
    let name = SocketAddrUnix::new(path).map_err(|e| refused(e.into()))?;
    match connect(&probe, &name) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(refused),
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(ListenError::InUse(path.to_path_buf())),
        Err(error) => Err(refused(error.into())),
    }
}

/// The name of a bound Unix socket; dropping it removes the file if it is still the same one.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_path_buf(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |f: &fs::Metadata| f.dev() == self.device && f.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(|found| same(&found)) {
            // Nothing is left to do about a name that cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Sets what every accepted TCP connection needs: no Nagle delay (it costs 44 ms a call), and
/// probes, so that a peer that vanished without a word is noticed.
pub(super) fn tune(stream: &tokio::net::TcpStream) -> io::Result<()> {
    use crate::core::limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(directory: &tempfile::TempDir) -> (PathBuf, Address) {
        let path = directory.path().join("d.sock");
        (path.clone(), Address::unix(&path).unwrap())
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn tcp_says_the_real_port() {
        for text in ["tcp://127.0.0.1:0", "tcp://[::1]:0"] {
            let address = Address::parse(text, b"").unwrap();
            match Listener::bind(&address, Reach::Own) {
                Ok(listener) => match listener.address() {
                    Address::Tcp(real) => assert_ne!(real.port(), 0),
                    Address::Unix(_) => panic!("a Unix socket"),
                },
                Err(error) => println!("SKIPPED: {text}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_unix_socket_is_private_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let (path, address) = unix(&directory);
        let listener = Listener::bind(&address, Reach::Own).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(listener);
        assert!(!path.exists());
        let _listener = Listener::bind(&address, Reach::Others).unwrap();
        assert_eq!(mode(&path), 0o666);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (path, address) = unix(&directory);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let live = Listener::bind(&address, Reach::Own).unwrap();
        let second = Listener::bind(&address, Reach::Own);
        assert!(matches!(second, Err(ListenError::InUse(_))), "{second:?}");
        drop(live);
        fs::write(&path, "kept").unwrap();
        let over_a_file = Listener::bind(&address, Reach::Own);
        assert!(matches!(over_a_file, Err(ListenError::NoSocket(_))), "{over_a_file:?}");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[tokio::test]
    async fn anothers_socket_at_the_same_path_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, address) = unix(&directory);
        let ours = Listener::bind(&address, Reach::Own).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = Listener::bind(&address, Reach::Own).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        assert!(!path.exists());
    }
}
