//! The bounds of images: what they may be, and what is held while they are made, kept and unpacked.

use std::time::Duration;

use super::{ARCHIVE_DEPTH_MAX, GIB, KIB, MIB};

/// Longest image id after its `im-`, in bytes: ours have 22.
pub const IMAGE_ID_BYTES_MAX: usize = 64;
/// Longest tag, in bytes: what registries take.
pub const TAG_BYTES_MAX: usize = 128;
/// Longest host name and port of a registry, in bytes: a DNS name has at most 253.
pub const REGISTRY_BYTES_MAX: usize = 260;
/// Longest repository in a registry, in bytes: what registries take.
pub const REPOSITORY_BYTES_MAX: usize = 255;
/// How long an image of which nobody said how long is kept after its last use.
pub const IMAGE_RENEWED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest time to live that is not for ever: a thousand years, which every arithmetic of ours bears.
pub const IMAGE_TTL_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// Largest manifest, index or configuration of an image that is read, in bytes: what registries take
/// of a manifest. It is held in memory.
pub const MANIFEST_BYTES_MAX: u64 = 4 * MIB;
/// Layers of one image: Docker's limit is 127, overlayfs's 500.
pub const IMAGE_LAYERS_MAX: usize = 512;

/// Images of one store: each change rewrites the index, some 300 bytes an image.
pub const IMAGES_MAX: usize = 10_000;
/// Largest `index.json` that is read, in bytes: [`IMAGES_MAX`] images with tags, and others' entries.
pub const INDEX_BYTES_MAX: u64 = 16 * MIB;
/// Largest record of an image that is read, in bytes: a line for each of [`IMAGE_LAYERS_MAX`] layers.
pub const RECORD_BYTES_MAX: u64 = 256 * KIB;
/// What the images of a store may take, in bytes, before the least recently used ones go.
pub const IMAGE_STORE_BYTES: u64 = 64 * GIB;

/// Shortest key that a caller may seal an image with, in bytes …
pub const IMAGE_KEY_BYTES_MIN: usize = 16;
/// … and the longest: what the public clients allow.
pub const IMAGE_KEY_BYTES_MAX: usize = 512;
/// Bytes that are sealed together: small enough to hold some, large enough that what each adds (16
/// bytes and a call) does not count. Part of the format.
pub const SEALED_SEGMENT_BYTES: usize = 64 << 10;

/// Largest window of a zstd frame, as a power of two: 64 MiB, which `zstd -19` does not reach. It is
/// memory that an image asks for.
pub const IMAGE_ZSTD_WINDOW_LOG_MAX: u32 = 26;
/// Files and links of an archive that is imported: a dozen images with as many layers as Docker allows.
/// Each is a temporary file.
pub const IMPORT_MEMBERS_MAX: usize = 4096;

/// Bytes of a layer's tar stream that are compressed by themselves: larger chunks compress a little
/// better, and each needs two buffers.
pub const SNAPSHOT_CHUNK_BYTES: usize = 2 << 20;
/// Chunks that wait to be filled, compressed and hashed, so that no thread waits for another: with their
/// buffers some 40 MiB.
pub const SNAPSHOT_CHUNKS_AHEAD: usize = 10;
/// Chunks that were hashed and wait to be written.
pub const SNAPSHOT_PIECES_AHEAD: usize = 4;
/// Bytes of a layer that are written at once. Larger pieces make the kernel look for larger free pages: 2 MiB
/// cost four times the CPU of 128 KiB.
pub const SNAPSHOT_WRITE_BYTES: usize = 128 << 10;
/// Threads that fill and compress chunks; beyond these hashing, which only one can do, is slower.
pub const SNAPSHOT_THREADS_MAX: usize = 8;
/// Files up to this size are read by who walks, into the place where their data belongs; larger ones keep a
/// descriptor until their data was read, of which a chunk then holds at most sixteen.
pub const SNAPSHOT_SMALL_BYTES: u64 = 128 * KIB;
/// What was left out of a snapshot, in words, for its log.
pub const SNAPSHOT_NOTES_MAX: usize = 32;
/// Files with several names that are known as such in one snapshot, some 40 MiB; beyond them each
/// name becomes a file.
pub const SNAPSHOT_LINKS_MAX: usize = 1 << 18;
/// Smallest hole of a file that is kept, in bytes: no file system has larger blocks.
pub const SNAPSHOT_HOLE_BYTES_MIN: u64 = 64 * KIB;
/// Pieces of data of one file with holes in a layer; one with more gets larger pieces.
pub const SNAPSHOT_EXTENTS_MAX: usize = 8192;
/// How long before a record was begun something must have changed last, to be known by that time: clocks of
/// file systems are coarse (FAT has two seconds).
pub const TREE_RECORD_TRUST: Duration = Duration::from_secs(2);
/// Lines of one tree's record, in bytes: about a million names. A larger tree has no record, and every
/// snapshot of it packs everything.
pub const TREE_RECORD_BYTES_MAX: usize = 48 << 20;
/// Longest path in a record, in bytes: the names of [`super::ARCHIVE_DEPTH_MAX`] levels.
pub const TREE_RECORD_PATH_BYTES_MAX: usize = (ARCHIVE_DEPTH_MAX + 1) * 256;
/// Extended attributes of one file in a layer, in bytes: with its other records they stay below what
/// readers take ([`super::ARCHIVE_ATTACHED_BYTES_MAX`]).
pub const SNAPSHOT_XATTRS_BYTES_MAX: usize = 512 << 10;

/// Entries of all layers of an image that is unpacked. The paths of a layer that changes others are
/// remembered until its end, in 9 to 18 bytes each.
pub const IMAGE_ENTRIES_MAX: u64 = 1 << 22;
/// Bytes of all layers of an image when they are decompressed. What is less than this is bounded by the
/// disk.
pub const IMAGE_BYTES_MAX: u64 = 1 << 40;
/// Largest file of an image, in bytes, with its holes: ext4's own bound.
pub const IMAGE_FILE_BYTES_MAX: u64 = 1 << 44;
/// How many times larger a layer of somebody else's image may become: more than gzip can reach (1032),
/// far more than files do. Our own may, they hold what was snapshotted …
pub const IMAGE_RATIO_MAX: u64 = 1200;
/// … and so may everybody's as long as they come to less than this, in bytes: a gibibyte of zeros does no
/// harm.
pub const IMAGE_RATIO_FREE_BYTES: u64 = GIB;
/// Bytes of a layer that are handed from the thread that decompresses it to those that hash and unpack it,
/// a piece …
pub const IMAGE_PIECE_BYTES: usize = 256 << 10;
/// … and how many pieces there are: 2 MiB.
pub const IMAGE_PIECES: usize = 8;
/// Files up to this size, in bytes, are written by another thread while the next entry is read.
pub const IMAGE_SMALL_FILE_BYTES_MAX: usize = 256 << 10;
/// Bytes after which no more such files are handed over together …
pub const IMAGE_BATCH_BYTES: usize = 256 << 10;
/// … and how many of them are at most …
pub const IMAGE_BATCH_FILES_MAX: usize = 32;
/// … and how many times that may wait or be written: 4 MiB of data, and 256 descriptors, of which there
/// are often 1024.
pub const IMAGE_BATCHES: usize = 8;
/// Threads that write small files: with the one that reads they keep two processors busy.
pub const IMAGE_WRITERS: usize = 2;
/// What is remembered of directories until they get their modes and times, in bytes. Beyond it they get both
/// before, and what is made in them later changes the times.
pub const IMAGE_DIRECTORIES_BYTES_MAX: usize = 24 << 20;
/// Directories within directories in an image: each has a descriptor on the way to the innermost.
pub const IMAGE_DEPTH_MAX: usize = 256;
/// Characters of a path of an image that an error repeats: paths may have a mebibyte.
pub const IMAGE_SHOWN_CHARS_MAX: usize = 400;

/// Requests about images that are under way or wait: each waits for its turn, and holds little meanwhile.
pub const IMAGE_REQUESTS_MAX: usize = 256;
/// Archives that are written and read at once: each holds a thread for as long as its client takes.
pub const IMAGE_STREAMS_AT_ONCE: usize = 4;
/// Images that go to the shared store and come from there at once, and as many for all other registries: each may hold
/// two parts of an object ([`REMOTE_PART_BYTES`]).
pub const IMAGE_TRANSFERS_AT_ONCE: usize = 2;
/// Pieces of an archive that wait for its client, each of [`super::CHUNK_BYTES`] at most.
pub const IMAGE_STREAM_PIECES: usize = 8;
/// Layers beyond which a snapshot of a mount is one layer with everything: Docker takes 127, and each costs
/// every mount a little.
pub const IMAGE_LAYERS_STACKED_MAX: usize = 100;
/// Largest file that is read as the record of a tree, in bytes: its lines and what stands around them.
pub const TREE_RECORD_FILE_BYTES_MAX: u64 = TREE_RECORD_BYTES_MAX as u64 + KIB;
/// Between two words about how far something is: ten a second are as many as people see.
pub const IMAGE_WORD: Duration = Duration::from_millis(100);
/// Between two rounds of collecting images and renewing those that are mounted. What is renewed by use is
/// kept for much longer.
pub const IMAGE_HOUSE: Duration = Duration::from_secs(3600);
/// How long the unpacked copies of an image that is not mounted are kept after its last use.
pub const IMAGE_COPIES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How old an unpacked tree is before it is recorded: with some more than [`TREE_RECORD_TRUST`] nothing in
/// it has to be read for that.
pub const IMAGE_RECORDED_AFTER: Duration = Duration::from_millis(2500);
/// Entries of an image that is compared with another one, each held in memory with some 200 bytes.
pub const IMAGE_VIEW_ENTRIES_MAX: usize = 1 << 18;
/// Level of zstd for layers: the fastest that is not negative. Higher ones take twice the time for a tenth
/// less.
pub const IMAGE_ZSTD_LEVEL: i32 = 1;
/// Level of gzip for layers: what gzip itself takes.
pub const IMAGE_GZIP_LEVEL: u32 = 6;

/// Longest prefix in a bucket, in bytes: half of what a key may have.
pub const BUCKET_PREFIX_BYTES_MAX: usize = 512;
/// How long a registry or a bucket may take to be found, connected to and shaken hands with.
pub const REMOTE_CONNECT: Duration = Duration::from_secs(15);
/// How long one name server may take for an answer: what C libraries allow, and a second server has its turn
/// within [`REMOTE_CONNECT`].
pub const DNS_WAIT: Duration = Duration::from_secs(5);
/// Name servers of /etc/resolv.conf that are asked, as in C libraries …
pub const DNS_SERVERS_MAX: usize = 3;
/// … and domains that a short name is looked for in.
pub const DNS_SEARCHED_MAX: usize = 6;
/// Largest /etc/resolv.conf that is read, in bytes.
pub const RESOLV_BYTES_MAX: u64 = 64 * KIB;
/// How long a transfer of an image may stand still before its link counts as broken.
pub const REMOTE_SILENCE: Duration = Duration::from_secs(60);
/// How long an answer may take after all was sent: registries read what they got once more, and join
/// gigabytes of parts.
pub const REMOTE_ANSWER: Duration = Duration::from_secs(300);
/// Attempts in a row that get nowhere, and then a push or a pull gives up …
pub const REMOTE_ATTEMPTS_MAX: u32 = 6;
/// … with this pause after the first one; the next ones double …
pub const REMOTE_PAUSE_MIN: Duration = Duration::from_millis(200);
/// … up to this, also where the other side asks for more.
pub const REMOTE_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a blob that go to or come from a file at once: few enough for memory, enough that changing
/// threads costs nothing.
pub const REMOTE_PIECE_BYTES: usize = 1 << 20;
/// Bytes of a blob in one request to a registry: what has to be sent again after a break.
pub const REMOTE_CHUNK_BYTES: u64 = 32 * MIB;
/// Bytes of one part of an object. Two are in memory at once. Buckets want at least 5 MiB …
pub const REMOTE_PART_BYTES: u64 = 8 * MIB;
/// … and take so many parts of one object; those of larger ones are larger.
pub const REMOTE_PARTS_MAX: u64 = 10_000;
/// Largest answer that is held in memory besides manifests, in bytes: tokens, lists of tags, what a
/// refusal says.
pub const REMOTE_ANSWER_BYTES_MAX: u64 = MIB;
/// Redirections that are followed for one request.
pub const REMOTE_REDIRECTS_MAX: u32 = 5;
/// Names that are listed of one place.
pub const REMOTE_NAMES_MAX: usize = 100_000;
/// Connections to one place that are kept for the next request …
pub const REMOTE_LINKS_IDLE_MAX: usize = 4;
/// … for so long: many servers end them after a minute.
pub const REMOTE_LINK_IDLE: Duration = Duration::from_secs(30);
/// Largest file of credentials that is read, in bytes.
pub const CREDENTIALS_BYTES_MAX: u64 = MIB;
