//! Every bound of the agent in one place: buffers, queues, tables, names and waits.
//!
//! Those of images fill a file of their own. Each constant says its unit and why it has its value. A bound that an operator can change has
//! its default here and its flag in `agent::config`.

mod image;

use std::time::Duration;

pub use self::image::*;

/// One kibibyte, in bytes.
pub const KIB: u64 = 1 << 10;
/// One mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;
/// One gibibyte, in bytes.
pub const GIB: u64 = 1 << 30;

/// Longest exec id, in bytes: it becomes part of log lines and names, never of a path.
pub const EXEC_ID_BYTES_MAX: usize = 128;
/// Longest secret id, in bytes.
pub const SECRET_ID_BYTES_MAX: usize = 128;
/// Largest secret file, in bytes: an environment larger than this cannot be executed anyway.
pub const SECRET_FILE_BYTES_MAX: u64 = MIB;
/// Names looked at in a secret's directory: keys, and what Kubernetes adds.
pub const SECRET_KEYS_MAX: usize = 4096;
/// Most arguments and environment entries of one exec, together: execve(2) refuses long before
/// this (E2BIG), but the check must not need memory in proportion to nonsense.
pub const SPEC_STRINGS_MAX: usize = 1 << 20;
/// Largest /etc/passwd or /etc/group that is read, in bytes: a hundred thousand accounts.
pub const ACCOUNT_FILE_BYTES_MAX: u64 = 16 * MIB;
/// Bytes of an exec's arguments that are remembered, as text: what a person reads of a command.
/// Thousands of execs are remembered.
pub const ARGV_BYTES_MAX: usize = 4 << 10;
/// Characters of a program's name in a line of the log.
pub const PROGRAM_CHARS_MAX: usize = 256;
/// How far a peak of memory must be above our own to be told, in bytes: the kernel counts what the
/// agent held when it made a process as that process's, and keeps both counts a little late.
pub const PEAK_MARGIN_BYTES: u64 = MIB;
/// Links followed on the way to one file, as the kernel does (MAXSYMLINKS).
pub const ROOTED_LINKS_MAX: usize = 40;
/// Components of one path while it is resolved, each directory with a descriptor.
pub const ROOTED_COMPONENTS_MAX: usize = 256;

/// Bytes of one read from a pipe, of one spool segment and of one message to a reader: larger
/// messages cost more CPU a byte, smaller ones more frames.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of one stream that are kept in memory while it also has a file.
pub const TAIL_BYTES_MAX: usize = 256 << 10;
/// Most buffers of [`CHUNK_BYTES`] that lie ready for pumps while none uses them: 1 MiB.
pub const BUFFERS_IDLE_MAX: usize = 16;
/// Bytes that a reader takes from a file at once: fewer hand-overs to the pool of threads …
pub const READ_AHEAD_BYTES: usize = 256 << 10;
/// … and how many such pieces exist at once, over all readers: 4 MiB. A reader that finds none
/// free reads what it was asked for.
pub const READ_AHEADS_MAX: usize = 16;
/// Most of them that lie ready while no reader uses them: half a MiB.
pub const READ_AHEADS_IDLE_MAX: usize = 2;
/// Streams that keep less than this are not asked to drop anything for others.
pub const VICTIM_BYTES_MIN: u64 = 4 * KIB;
/// Dropping from a file goes in steps of an eighth of what there is, but within these bounds:
/// each step is a system call and a walk over all streams.
pub const DROP_STEP_BYTES_MIN: u64 = 64 * KIB;
/// See [`DROP_STEP_BYTES_MIN`].
pub const DROP_STEP_BYTES_MAX: u64 = 8 * MIB;
/// Bytes written between two looks at the free space of the file system.
pub const DISK_LOOK_BYTES: u64 = 64 * MIB;
/// Bytes that a busy stream may move before others that wait for a pump's thread have their turn.
pub const PUMP_TURN_BYTES: usize = 16 << 20;
/// What the pipe of a stream that used up a whole turn may hold, in bytes. A process and its pump
/// that take turns on few processors change places less often; measured 5 % less CPU a byte.
/// Every pipe counts against its user's quota (pipe(7), 64 MiB), so only such streams get it.
pub const PIPE_BYTES: usize = 256 << 10;
/// A stream that moves this many bytes within [`BURST`] is busy and gets a thread.
pub const BURST_BYTES: usize = CHUNK_BYTES;
/// See [`BURST_BYTES`].
pub const BURST: Duration = Duration::from_millis(5);
/// How long a pump's thread waits for more before the stream counts as quiet again.
pub const BUSY_WAIT: Duration = Duration::from_millis(3);
/// How long a busy stream's small pieces are gathered before readers get them.
pub const GATHER: Duration = Duration::from_micros(300);
/// Sizes of one terminal that are remembered with their offsets, the newest: dragging a window's
/// edge makes some dozens, and only a screen that is far behind needs old ones.
pub const WINDOW_SIZES_MAX: usize = 256;
/// How far a terminal's screen may be behind the output before it is begun anew, cleared, in bytes:
/// what can be taken in within a second, and so many lines that nobody misses one.
pub const SCREEN_BEHIND_BYTES_MAX: u64 = 8 * MIB;
/// Bytes before the end of the output where a screen is begun anew: full-screen programs draw all of a
/// large terminal with less.
pub const SCREEN_RESTART_BYTES: u64 = 256 * KIB;
/// While nobody asks for it, a screen follows the output in steps of at least this, in bytes: most
/// terminals never say as much, so that theirs costs nothing before somebody comes back.
pub const SCREEN_STEP_BYTES: u64 = MIB;
/// How long a screen that nobody asks for lets output gather …
pub const SCREEN_PAUSE: Duration = Duration::from_millis(200);
/// … and for how many times as long as the last step took, so that it never has more than a fifth of
/// one processor.
pub const SCREEN_PAUSE_FACTOR: u32 = 4;
/// How long taking in output may take, once; after that the screen is begun anew at the output's end.
/// Some kilobytes can ask for the work of hours (a character repeated 65535 times, again and again).
pub const SCREEN_WORK_MAX: Duration = Duration::from_secs(1);
/// Bytes of output between two looks at that time. They can ask for at most a tenth of a second.
pub const SCREEN_SLICE_BYTES: usize = 128;
/// Largest terminal whose screen is kept, in rows times columns: more than 8K displays hold in a
/// readable font. Others are shown cleared.
pub const SCREEN_CELLS_MAX: u64 = 1 << 17;
/// Memory of one such cell in bytes, of both screens together.
pub const SCREEN_CELL_BYTES: u64 = 64;
/// Memory of all kept screens, in bytes: 250 of the usual size. Where there is no room, a screen is
/// shown cleared. Those that nobody sits before go as soon as they have more than half of it.
pub const SCREENS_BYTES_MAX: u64 = 32 * MIB;
/// How long a screen is kept that nobody sits before. Then it is made again from the output at need.
pub const SCREEN_IDLE: Duration = Duration::from_secs(3600);
/// Callers that wait for one exec's screen; more wait for their place.
pub const SCREEN_ASKS_MAX: usize = 16;
/// Longest title of a terminal that is shown again, in bytes.
pub const SCREEN_TITLE_BYTES_MAX: usize = 512;
/// Bytes of a stream that come within so many milliseconds count as having come at once, where it is
/// remembered when they came: finer is of no use to people …
pub const ARRIVAL_STEP_MS: u64 = 10;
/// … and so many such moments are remembered of a stream, 4 KiB at most: the last few hundred lines of
/// something that says little, some seconds of a flood.
pub const ARRIVAL_MARKS_MAX: usize = 256;
/// How long a pump that found no room waits at most before it looks again: room also comes from
/// others who delete their files, of which nobody tells us.
pub const ROOM_WAIT: Duration = Duration::from_millis(200);

/// Default of `--spool-memory-max`: output kept in memory over all execs.
pub const SPOOL_MEMORY_BYTES: u64 = 32 * MIB;
/// Default of `--spool-stream-max`: the most bytes kept of one stream.
pub const SPOOL_STREAM_BYTES: u64 = 16 * GIB;
/// Default of `--spool-total-max`: the most bytes kept of all streams.
pub const SPOOL_TOTAL_BYTES: u64 = 64 * GIB;
/// Left free on the state directory's file system, whatever the spools would like: this many
/// bytes and [`DISK_FREE_PERCENT`] of its size.
pub const DISK_FREE_BYTES: u64 = GIB;
/// See [`DISK_FREE_BYTES`].
pub const DISK_FREE_PERCENT: u64 = 5;

/// Default of `--linger-quiet`: silence after the exit that ends a stream somebody still holds.
pub const LINGER_QUIET: Duration = Duration::from_millis(200);
/// Default of `--linger-max`: when a stream ends at the latest after the exit.
pub const LINGER_MAX: Duration = Duration::from_secs(10);
/// Default of `--grace`: time between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(4);
/// Longest time between TERM and KILL that a caller may ask for.
pub const CANCEL_GRACE_MAX: Duration = Duration::from_secs(3600);
/// Between two looks for what is left of an exec that was asked to end: the first pause, which
/// doubles …
pub const CANCEL_LOOK_MIN: Duration = Duration::from_millis(4);
/// … up to this: a look costs milliseconds of a processor where there are many processes.
pub const CANCEL_LOOK_MAX: Duration = Duration::from_millis(250);
/// How long the answer to a cancel waits for the streams' ends once no process is left.
pub const CANCEL_SETTLE: Duration = Duration::from_millis(300);
/// Default of `--drain`: how long reads go on after everything was ended.
pub const DRAIN: Duration = Duration::from_secs(4);

/// Default of `--max-live-execs`.
pub const LIVE_EXECS: usize = 4096;
/// Default of `--remember-execs`: finished execs whose output can still be read.
pub const REMEMBER_EXECS: usize = 4096;
/// Default of `--remember-for`.
pub const REMEMBER_FOR: Duration = Duration::from_secs(24 * 3600);
/// Changes of execs that can be told to one who watches and falls behind: four a life, so those of
/// a thousand lives, in some hundred kilobytes. Beyond that everything is told anew.
pub const CHANGES_KEPT: usize = 4096;
/// Messages that a watcher of changes may be behind before it is waited for.
pub const WATCH_MESSAGES_AHEAD: usize = 16;
/// How often finished execs are looked at for their age.
pub const EXPIRY_PERIOD: Duration = Duration::from_secs(15);
/// A forgotten id is refused at least this long …
pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 3600);
/// … and the newest ones longer, up to this many.
pub const TOMBSTONES_KEPT: usize = 100_000;
/// The most tombstones, whatever their age: some 32 MiB of hashes. Reached only above twelve execs a
/// second for a whole day; dropping a young one is logged.
pub const TOMBSTONES_MAX: usize = 1 << 20;

/// Messages about work on an image that are ready before its caller takes them.
pub const IMAGE_MESSAGES_AHEAD: usize = 4;
/// Notices about work on an image that wait for its caller, who may never read: beyond them there is the log.
pub const IMAGE_NOTICES_MAX: usize = 64;
/// Largest piece of an archive that is imported, in bytes …
pub const IMPORT_PIECE_BYTES_MAX: usize = 1 << 20;
/// … and the largest message about images, with what is around such a piece …
pub const IMAGE_REQUEST_BYTES_MAX: usize = IMPORT_PIECE_BYTES_MAX + (64 << 10);
/// … and how many pieces wait to be taken in, of each import.
pub const IMPORT_PIECES_AHEAD: usize = 2;
/// Warnings for its user that one answer has: a client takes a few kilobytes of trailers.
pub const WARNINGS_MAX: usize = 4;
/// Largest request message, in bytes: the public Go and JavaScript clients send up to this.
pub const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Bytes of requests in flight, over all connections.
pub const REQUESTS_BYTES_MAX: usize = 256 << 20;
/// Bytes of output handed to connections and not yet written by them, over all streams. A quarter
/// of it is shared out generously, the rest in pieces of [`UNSENT_BYTES_EACH`] (see `doors::unsent`).
pub const UNSENT_BYTES_MAX: usize = 16 << 20;
/// A reader may have this much unsent even when others have used up all of it, so that stalled
/// readers cannot starve it. Two thousand stalled readers fit into [`UNSENT_BYTES_MAX`] with it.
pub const UNSENT_BYTES_EACH: usize = 4 << 10;
/// The most that one reader may have unsent: a few chunks, so that the next one is ready while
/// the last one is being written.
pub const UNSENT_READER_BYTES_MAX: usize = 4 * CHUNK_BYTES;
/// What an attached caller gets of an exec without a terminal to begin with, in bytes of each stream.
pub const ATTACH_TAIL_BYTES: u64 = 64 * KIB;
/// Input of an attached caller that arrived and was not accepted, in bytes: beyond it nothing more is
/// taken from the connection.
pub const ATTACH_INPUT_BYTES_MAX: usize = 256 << 10;
/// Largest message of an attached caller, in bytes.
pub const ATTACH_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Chunks up to this size are copied into one frame with their header: two frames cost more.
pub const COPIED_CHUNK_BYTES_MAX: usize = 2 << 10;
/// Messages within messages that the scan for unknown fields walks into; the protos have four.
pub const MESSAGE_DEPTH_MAX: usize = 8;
/// Different unknown fields that are counted apart; others are counted together.
pub const UNKNOWN_FIELDS_KEPT: usize = 256;
/// When a client that met a lack of something may try again.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Longest message of a status or a warning, in bytes: it travels in an HTTP header.
pub const STATUS_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Streams of one HTTP/2 connection, and resets it may have pending.
pub const STREAMS_MAX: u32 = 4096;
/// Send buffer of one HTTP/2 stream, in bytes.
pub const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Connections that have not yet sent an authenticated request.
pub const STRANGERS_MAX: usize = 256;
/// Calls without authentication (health) that one connection may have running at once.
pub const OPEN_CALLS_MAX: usize = 16;
/// Largest request of such a call, in bytes.
pub const OPEN_REQUEST_BYTES_MAX: usize = 4 << 10;
/// How long a connection may take for its TLS handshake and HTTP/2 preface.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Frames that arrive for a stream after we reset it, over the life of a connection, before the
/// connection is ended: a client that uploads and is refused sends many through no fault.
pub const LOCAL_RESETS_MAX: usize = 1 << 20;
/// Window of one HTTP/2 stream, in bytes: what a client may send before a handler reads it.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Window of one HTTP/2 connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Largest HTTP/2 frame taken, in bytes.
pub const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Headers of one request, in bytes: room for a large token.
pub const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// Connections that the kernel completes before we accept them.
pub const ACCEPT_BACKLOG: u32 = 1024;
/// How long accepting stops when descriptors or memory are used up and no connection closes.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Longest path of a Unix socket, in bytes: sun_path without its final NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;
/// Silence on a TCP connection after which the kernel probes its peer.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered probes that end a connection.
pub const KEEPALIVE_PROBES: u32 = 4;
/// How long after the header's value a call is ended with DEADLINE_EXCEEDED: grpclib rounds the
/// header down, so that ending on time would always come before the client's own deadline.
pub const DEADLINE_SLACK: Duration = Duration::from_secs(1);

/// Largest key, token, certificate or key set file, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = MIB;
/// Most keys of a key set and static tokens: each call may be held against all of them.
pub const KEYS_MAX: usize = 256;
/// Clock skew that a token is allowed.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// Shortest HS256 secret, in bytes (RFC 7518, section 3.2: at least the hash's size).
pub const HS256_SECRET_BYTES_MIN: usize = 32;

/// How far the copy of the entrypoint's output in the log may be behind before it leaves
/// something out, in bytes.
pub const LOG_BEHIND_BYTES_MAX: u64 = 8 * MIB;

/// How long the client library goes on trying without any progress, and then gives up.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(60);
/// Tokens that the client library fetches for one call, one after the other being refused.
pub const CLIENT_RENEWALS_MAX: u32 = 3;
/// How long the client library waits for one connection, TLS included.
pub const CLIENT_CONNECT: Duration = Duration::from_secs(10);
/// A link that carried this many bytes of output before it broke is opened again at once: it works, and a
/// pause would cost more than what was lost. Less than that might be a peer that ends whatever is opened.
pub const CLIENT_AT_ONCE_BYTES: u64 = 64 * KIB;
/// The client library's first pause between two attempts; the next ones double …
pub const CLIENT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// … up to this.
pub const CLIENT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Silence after which the client library asks whether the other side is still there.
pub const CLIENT_PING: Duration = Duration::from_secs(20);
/// How long it waits for the answer.
pub const CLIENT_PING_ANSWER: Duration = Duration::from_secs(10);
/// Least time between two looks of `doorward top`: each is a look of the agent at all processes.
pub const TOP_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Least time between two pictures of `doorward top`: thousands of states may change in a second, and
/// nobody reads faster.
pub const TOP_PICTURE: Duration = Duration::from_millis(100);
/// Execs that one command of ours ends or removes at the same time: each may take its whole grace, and an
/// agent looks for what is left of each.
pub const CLI_AT_ONCE: usize = 32;
/// HTTP/2 window of one stream in the client library, in bytes: what may be under way unread.
pub const CLIENT_STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// After a connection that broke within this time …
pub const CLIENT_UNSTEADY: Duration = Duration::from_secs(10);
/// … the window is this part of what that one carried, because what is under way at a break is lost …
pub const CLIENT_WINDOW_PART: u64 = 2;
/// … but at least this many bytes.
pub const CLIENT_STREAM_WINDOW_BYTES_MIN: u32 = 256 << 10;
/// A piece of memory that comes and goes once where a link breaks all the time, in bytes: glibc keeps twice as
/// much of what is free from then on.
pub const CLIENT_HEAP_PIECE_BYTES: usize = 2 << 20;
/// HTTP/2 window of a connection in the client library, in bytes: one reader that does not read
/// leaves room for others.
pub const CLIENT_WINDOW_BYTES: u32 = 32 << 20;
/// Largest HTTP/2 frame that the client library takes, in bytes: the receiver decides, and each
/// frame costs the sender a system call.
pub const CLIENT_FRAME_BYTES: u32 = 64 << 10;
/// Bytes of input in one message of the client library: small enough to get through between two
/// breaks of a bad link.
pub const CLIENT_INPUT_BYTES: usize = 64 << 10;
/// Input that an attached client keeps until the agent has accepted it, in bytes: what is sent again
/// after a break. More than that waits.
pub const CLIENT_UNACCEPTED_BYTES_MAX: usize = 256 << 10;
/// Events of an attached client that wait for whoever asks for them; while so many do, nothing
/// more is taken from the connection.
pub const CLIENT_EVENTS_MAX: usize = 4;
/// Signals that an attached client has not sent yet; more are refused.
pub const CLIENT_SIGNALS_MAX: usize = 64;
/// Bytes of an archive in one message of the client library: a quarter of the window that the agent gives
/// a stream at least, so that one is under way while another one is read.
pub const CLIENT_ARCHIVE_BYTES: usize = 256 << 10;
/// Pieces of an archive that wait for the connection, or for whoever writes them: 1 MiB.
pub const CLIENT_ARCHIVE_PIECES: usize = 4;
/// How often the command line asks again for work whose connection broke although something had arrived: a
/// failure that comes back each time must come to an end.
pub const CLIENT_BREAKS_MAX: u32 = 16;

/// Longest tag of an image, in bytes: as registries have it.
pub const IMAGE_TAG_BYTES_MAX: usize = 128;

/// Levels of directories in one copy: each has a descriptor, of which there are often 1024.
pub const ARCHIVE_DEPTH_MAX: usize = 256;
/// Bytes in an archive that describe one other member, its names and records: paths have 4 KiB,
/// extended attributes 64 KiB.
pub const ARCHIVE_ATTACHED_BYTES_MAX: usize = 1 << 20;
/// Value of one extended attribute, in bytes: as much as Linux lets any have …
pub const ARCHIVE_XATTR_BYTES_MAX: usize = 64 << 10;
/// … and all of one file's in a copy, with their names. They travel in one record.
pub const ARCHIVE_XATTRS_BYTES_MAX: usize = 256 << 10;
/// Pieces of data of one file with holes, each of 16 bytes while it is read; a file with more of them is
/// refused. Tools that find holes look at blocks of 4 KiB, and no file is known with a tenth of that.
pub const ARCHIVE_EXTENTS_MAX: usize = 1 << 18;
/// Files with several names that are known as such in one copy; beyond them, each name becomes a file.
pub const ARCHIVE_LINKS_MAX: usize = 1 << 20;
/// Directories that wait for their mode and time until what is in them is made; beyond them, they get
/// both before.
pub const ARCHIVE_DIRECTORIES_MAX: usize = 1 << 18;
/// Bytes of a copy that may be under way: more than a fast and distant link holds at once (100 MiB/s
/// and 100 ms), little enough for memory on either side.
pub const ARCHIVE_WINDOW_BYTES: u64 = 16 * MIB;
/// Bytes between two words to the other side about what was read; a small part of the window.
pub const ARCHIVE_REPORT_BYTES: u64 = MIB;
/// What the pipes of a copy's tool may hold, in bytes: as much as an ordinary user may ask for.
pub const ARCHIVE_PIPE_BYTES: usize = 1 << 20;
/// How long a copy's tool waits for a word or a byte of the other side before it takes it for gone. A
/// stream from somebody's program may rest for long; what is left behind is one sleeping process.
pub const ARCHIVE_SILENCE: Duration = Duration::from_secs(3600);
/// How often who reads a copy says how far it is, although nothing has changed.
pub const ARCHIVE_WORD: Duration = Duration::from_secs(600);
/// How long a copy's tool may take to say what it is.
pub const ARCHIVE_GREETING: Duration = Duration::from_secs(30);
/// How long a copy's tool may take to clean up after its input ended.
pub const ARCHIVE_END: Duration = Duration::from_secs(2);

/// Largest file that the file API of public clients reads or writes, in bytes: theirs, by contract.
pub const FILE_BYTES_MAX: u64 = 5 * GIB;
/// How long the file tool waits for the next byte of a file before it takes the client for gone: public
/// clients leave their input open when they give up.
pub const FILE_SILENCE: Duration = Duration::from_secs(3600);
/// Entries of one directory that are listed, and of a new one that are told to who watches: they are kept
/// in memory at once, 100 to 300 MiB at most.
pub const FILES_LISTED_MAX: usize = 1 << 20;
/// Directories that one watch looks at. The kernel's own limit for a user is often lower, and each of
/// them costs it a kilobyte.
pub const WATCHED_DIRECTORIES_MAX: usize = 1 << 16;
/// Bytes of one read of changes: some thousand of them, each at most a name long.
pub const WATCH_READ_BYTES: usize = 64 << 10;
/// How long the first half of a rename waits for the second one. The kernel queues both within one
/// call.
pub const WATCH_RENAME: Duration = Duration::from_millis(10);

/// Largest table of mounts that is looked at, in bytes: twenty thousand of them, more than a machine
/// full of containers has.
pub const MOUNT_TABLE_BYTES_MAX: usize = 4 << 20;
/// Images mounted at once by one agent: each has a tree on disk, and a bad path is compared with all.
pub const MOUNTS_MAX: usize = 256;
/// Longest path that an image is mounted at, in bytes, as the kernel's (PATH_MAX without its NUL).
pub const MOUNT_PATH_BYTES_MAX: usize = 4095;
/// Longest key of an image that is mounted, in bytes: references with a digest have less.
pub const MOUNT_KEY_BYTES_MAX: usize = 512;
/// Largest record of one mount, in bytes: three paths, escaped, and as many as were made on the way.
pub const MOUNT_RECORD_BYTES_MAX: u64 = MIB;
/// Processes that are named when they work in a directory that an image comes to hide.
pub const MOUNT_NAMED_MAX: usize = 16;
/// Levels of directories in a tree that is cloned, moved or removed: each has descriptors.
pub const TREE_DEPTH_MAX: usize = 256;
/// Largest list of a tree's directories and their times that is kept while its entries are elsewhere,
/// in bytes: a million directories.
pub const TREE_TIMES_BYTES_MAX: u64 = 256 * MIB;
/// Largest value and largest list of extended attributes, in bytes (xattr(7)).
pub const XATTR_BYTES_MAX: usize = 64 << 10;
/// Names of one directory that are read before what they name is dealt with.
pub const TREE_NAMES_MAX: usize = 4096;
/// Looks at a directory whose entries are moved before what is made there meanwhile stays.
pub const TREE_ROUNDS_MAX: usize = 16;
/// Files with several names that are known as such in one clone; beyond them, each name becomes a file.
pub const CLONE_LINKS_MAX: usize = 1 << 17;
/// Bytes that are copied at once where the kernel does not copy by itself.
pub const CLONE_BUFFER_BYTES: usize = 256 << 10;

/// Longest unfinished control sequence of an output that is repeated after something else was written
/// in between, in bytes: longer ones are titles and pictures.
pub const TERMINAL_SEQUENCE_BYTES_MAX: usize = 4 << 10;
/// Settings of the keyboard that a program put on top of each other and that are kept (kitty's
/// protocol): each program that is started in another one adds one.
pub const TERMINAL_KEYBOARDS_MAX: usize = 64;
/// How long the terminal client holds output back for a screen that it asked for; after that it goes
/// on without.
pub const REDRAW: Duration = Duration::from_secs(2);
/// How long the terminal client waits for a terminal that takes no more output (^S) before it
/// leaves all the same.
pub const TERMINAL_FLUSH: Duration = Duration::from_secs(1);

/// Between two looks at a full pipe that the reactor cannot watch.
pub const UNWATCHED_PAUSE: Duration = Duration::from_millis(10);
/// How long a write that met a closed pipe waits for the exit, so that a client that polls on
/// the refusal finds the exit status.
pub const EPIPE_EXIT_WAIT: Duration = Duration::from_millis(500);
/// Blocking threads of all kinds; each kind has its own share below.
pub const BLOCKING_THREADS_MAX: usize = 32;
/// Programs being started at once: one stuck in a dead mount holds one of them.
pub const SPAWNS_AT_ONCE: usize = 8;
/// Pumps of busy streams running at once.
pub const PUMPS_AT_ONCE: usize = 4;
/// Other file work at once.
pub const FILE_JOBS_AT_ONCE: usize = 6;
/// Scans of /proc and sweeps at once.
pub const SCANS_AT_ONCE: usize = 4;
/// Screens that take in output at once: none has to be there within a millisecond.
pub const SCREENS_AT_ONCE: usize = 2;
/// Jobs of images at once: a mount may wait for another one at the same path, and an archive for its
/// client, and others go on.
pub const IMAGE_JOBS_AT_ONCE: usize = 8;
/// How much of a process's environment is searched for the cookie, in bytes: more than the
/// kernel lets a program be started with under the usual stack limit of 8 MiB (a quarter of it).
pub const ENVIRON_BYTES_MAX: usize = 2 << 20;
/// Cgroups of one agent at once; execs beyond them have none and are known by their other marks.
pub const CGROUPS_MAX: usize = 8192;
/// Empty cgroups kept for the next execs: making one costs a tenth of a millisecond, keeping one
/// some kilobytes of the kernel's memory.
pub const CGROUPS_EMPTY_MAX: usize = 64;
/// Leftovers of dead agents removed at start, and cgroups that a command made within its own.
pub const CGROUPS_STALE_MAX: usize = 1024;
/// Between attempts to give an ended exec's cgroup back: a process leaves it within a millisecond
/// of its end, or, on a machine that has much to do, within some.
pub const RELEASE_PAUSES: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(50), Duration::from_millis(500)];
/// How long a sweep may take. Killing takes milliseconds; longer takes only what waits for a
/// disk, and with grace and drain the agent's end must stay within Docker's ten seconds.
pub const SWEEP: Duration = Duration::from_millis(1500);
/// What was killed is waited for at least this long, however long it took to find it.
pub const SWEEP_WAIT_MIN: Duration = Duration::from_millis(250);
/// Scans of /proc in one sweep: a tree that grows as fast as it is found is not stopped for ever.
pub const SWEEP_SCANS_MAX: usize = 256;
/// Scans in a row that find nothing new and end a search although strangers come and go: on a
/// busy machine they always do.
pub const SWEEP_BARREN_SCANS_MAX: usize = 16;

const _: () = assert!(IMAGE_STREAMS_AT_ONCE + 4 <= IMAGE_JOBS_AT_ONCE);
const _: () = assert!(CHUNK_BYTES <= TAIL_BYTES_MAX);
const _: () = assert!(2 * DNS_WAIT.as_secs() < REMOTE_CONNECT.as_secs());
const _: () = assert!(4 * ARCHIVE_REPORT_BYTES <= ARCHIVE_WINDOW_BYTES);
const _: () = assert!(2 * ARCHIVE_XATTRS_BYTES_MAX <= ARCHIVE_ATTACHED_BYTES_MAX);
const _: () = assert!(SCREEN_STEP_BYTES < SCREEN_BEHIND_BYTES_MAX);
const _: () = assert!(SCREEN_RESTART_BYTES <= SCREEN_STEP_BYTES);
const _: () = assert!(SCREEN_CELLS_MAX * SCREEN_CELL_BYTES <= SCREENS_BYTES_MAX / 2);
const _: () = assert!(UNSENT_BYTES_EACH <= CHUNK_BYTES);
const _: () = assert!(TOMBSTONES_KEPT <= TOMBSTONES_MAX);
const _: () = assert!(
    SPAWNS_AT_ONCE
        + PUMPS_AT_ONCE
        + FILE_JOBS_AT_ONCE
        + SCANS_AT_ONCE
        + SCREENS_AT_ONCE
        + IMAGE_JOBS_AT_ONCE
        <= BLOCKING_THREADS_MAX
);
