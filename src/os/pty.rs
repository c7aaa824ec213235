//! Makes a terminal pair (pty(7)).

use std::os::fd::OwnedFd;

use rustix::{
    fs::{Mode, OFlags, fchown, open},
    io::Errno,
    process::{Gid, Uid},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt},
    termios::{
        InputModes, OptionalActions, SpecialCodeIndex, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
    },
};

use crate::core::spec::WindowSize;

/// Both ends of a terminal.
pub struct Pair {
    /// Our end: what is read is output, what is written is typed. Nonblocking.
    pub master: OwnedFd,
    /// The command's end.
    pub slave: OwnedFd,
}

/// Makes a terminal of `size`, its slave owned by `owner` if given. Both ends close on exec.
pub fn pair(size: WindowSize, owner: Option<(u32, u32)>) -> Result<Pair, Errno> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = match ioctl_tiocgptpeer(&master, flags) {
        Ok(slave) => slave,
        // Kernels before 4.13, and gVisor.
        Err(_) => {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            open(ptsname(&master, Vec::new())?, flags, Mode::empty())?
        }
    };
    resize(&master, size)?;
    let mut modes = tcgetattr(&slave)?;
    // Erase deletes whole characters, as under ssh.
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    if let Some((uid, gid)) = owner {
        // Programs that open the terminal by name need it; those that do not work without.
        let _ = fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    }
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok(Pair { master, slave })
}

/// Changes the size; the foreground process group gets SIGWINCH.
pub fn resize(master: &OwnedFd, size: WindowSize) -> Result<(), Errno> {
    let size = Winsize { ws_row: size.rows(), ws_col: size.columns(), ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size)
}

/// The byte that means "end of input" to this terminal in canonical mode (VEOF, termios(3)).
pub fn end_of_input(master: &OwnedFd) -> u8 {
    tcgetattr(master).map_or(0x04, |modes| modes.special_codes[SpecialCodeIndex::VEOF])
}
