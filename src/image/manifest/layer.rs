//! What a layer is said to be, and what its first bytes say.

use std::fmt;

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, perhaps of several members.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What a layer's media type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerMedia {
    /// How the tar is compressed.
    pub compression: Compression,
    /// Whether all of it is sealed with the caller's key.
    pub sealed: bool,
}

/// Prefix, suffix and compression of each form of a layer's media type; the first form of each
/// compression is the one that is written. Those that must not be given away
/// (`nondistributable`, `foreign`) are ordinary layers for whoever has their bytes.
const LAYERS: [(&str, Compression, Sealed); 12] = [
    ("application/vnd.oci.image.layer.v1.tar", Compression::None, Sealed::No),
    ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip, Sealed::No),
    ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd, Sealed::No),
    ("application/vnd.doorward.layer.v1.tar.sealed", Compression::None, Sealed::Yes),
    ("application/vnd.doorward.layer.v1.tar+gzip.sealed", Compression::Gzip, Sealed::Yes),
    ("application/vnd.doorward.layer.v1.tar+zstd.sealed", Compression::Zstd, Sealed::Yes),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::None, Sealed::No),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::Gzip, Sealed::No),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd, Sealed::No),
    ("application/vnd.docker.image.rootfs.diff.tar", Compression::None, Sealed::No),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip, Sealed::No),
    ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip, Sealed::No),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sealed {
    Yes,
    No,
}

impl LayerMedia {
    /// What a media type says; `None` if it is no layer's.
    pub fn parse(text: &str) -> Option<Self> {
        // Docker has no name for zstd, but some tools write one all the same.
        let text = match text {
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYERS[2].0,
            other => other,
        };
        let (_, compression, sealed) = LAYERS.iter().find(|(name, ..)| *name == text)?;
        Some(Self { compression: *compression, sealed: *sealed == Sealed::Yes })
    }

    /// The media type that says it.
    pub fn name(&self) -> &'static str {
        let sealed = if self.sealed { Sealed::Yes } else { Sealed::No };
        let found = LAYERS
            .iter()
            .find(|(_, compression, known)| *compression == self.compression && *known == sealed);
        found.expect("each compression stands in the table, sealed and not").0
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frames, which may stand before the first one: 0x184D2A5? in little endian.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Compression {
    /// What the first bytes of a layer are. No tar begins as a compressed file does: its first byte
    /// is that of a name, and a name with these bytes at its begin is not one that tools choose.
    pub fn sniff(head: &[u8]) -> Self {
        if head.starts_with(&GZIP_MAGIC) {
            return Self::Gzip;
        }
        let skippable = matches!(head, [first, rest @ ..]
            if first & 0xf0 == 0x50 && rest.starts_with(&ZSTD_SKIPPABLE));
        match head.starts_with(&ZSTD_MAGIC) || skippable {
            true => Self::Zstd,
            false => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}
