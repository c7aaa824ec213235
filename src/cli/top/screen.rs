//! The whole terminal for a while: the alternate screen, left as it was found.

use std::{
    fs::File,
    io::{self, Write, stdin, stdout},
    thread,
};

use bytes::Bytes;
use rustix::termios::tcgetwinsize;
use tokio::sync::mpsc;

use crate::cli::{
    failure,
    streams::{PIECES, own, read_all, write_whole},
    terminal::Raw,
};

/// The alternate screen, without a cursor and without wrapping of long lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Lines and columns of a terminal that does not know its size.
const USUAL: (usize, usize) = (24, 80);

/// The alternate screen; dropping it brings back what was there.
pub(super) struct Screen {
    to: File,
    // Dropped after our own drop has written to the terminal.
    _raw: Option<Raw>,
}

impl Screen {
    /// Takes the terminal that standard output is; that standard input is comes raw, so that keys arrive
    /// one by one.
    pub(super) fn enter() -> io::Result<Self> {
        let raw = Raw::set()?;
        let mut screen = Self { to: File::from(own(stdout())?), _raw: raw };
        write_whole(&mut screen.to, ENTER.as_bytes())?;
        Ok(screen)
    }

    /// Lines and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(&self.to) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                (size.ws_row.into(), size.ws_col.into())
            }
            Ok(_) | Err(_) => USUAL,
        }
    }

    /// Shows these lines, from the top; what does not fit is left out.
    pub(super) fn draw(&mut self, lines: &[String]) -> anyhow::Result<()> {
        let (rows, _) = self.size();
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().take(rows).enumerate() {
            // A line feed in the last row would scroll.
            text += if index > 0 { "\r\n" } else { "" };
            text += line;
            text += "\x1b[K";
        }
        text += "\x1b[J";
        write_whole(&mut self.to, text.as_bytes()).map_err(failure::output)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.to.write_all(LEAVE.as_bytes());
    }
}

/// What is typed, piece by piece. It is read on a thread, which stays in its read when we leave.
pub(super) fn keys() -> io::Result<mpsc::Receiver<Bytes>> {
    let from = File::from(own(stdin())?);
    let (sender, keys) = mpsc::channel(PIECES);
    thread::spawn(move || read_all(from, &sender));
    Ok(keys)
}
