//! Names in a layer that say something about the layers beneath it.

/// What a name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    /// Nothing: it is an entry.
    Nothing,
    /// What has this name beside it is hidden.
    Hides(&'a [u8]),
    /// All that the directory had is hidden.
    Opaque,
    /// Something of the file system AUFS, which has no meaning elsewhere.
    Ignored,
}

const HIDES: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

impl<'a> Mark<'a> {
    /// What a path says, or why it makes no sense.
    pub(super) fn of(path: &[&'a [u8]]) -> Result<Self, &'static str> {
        let Some((name, above)) = path.split_last() else { return Ok(Self::Nothing) };
        if above.iter().any(|part| part.starts_with(META)) {
            return Ok(Self::Ignored);
        }
        match name.strip_prefix(HIDES) {
            None => Ok(Self::Nothing),
            Some(_) if *name == OPAQUE => Ok(Self::Opaque),
            Some(_) if name.starts_with(META) => Ok(Self::Ignored),
            Some(b"" | b"." | b"..") => Err("it hides no name"),
            Some(hidden) => Ok(Self::Hides(hidden)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_something() {
        let cases: [(&str, Result<Mark<'_>, &str>); 12] = [
            ("a/b", Ok(Mark::Nothing)),
            ("a/.wh.b", Ok(Mark::Hides(b"b"))),
            (".wh.b", Ok(Mark::Hides(b"b"))),
            ("a/.wh..b", Ok(Mark::Hides(b".b"))),
            ("a/.wh.b/c", Ok(Mark::Nothing)),
            ("a/.whb", Ok(Mark::Nothing)),
            ("a/.wh..wh..opq", Ok(Mark::Opaque)),
            ("a/.wh..wh.orph", Ok(Mark::Ignored)),
            (".wh..wh.plnk/1.2", Ok(Mark::Ignored)),
            ("a/.wh.", Err("it hides no name")),
            ("a/.wh..", Err("it hides no name")),
            ("a/.wh...", Err("it hides no name")),
        ];
        for (path, expected) in cases {
            let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            assert_eq!(Mark::of(&parts), expected, "{path}");
        }
        assert_eq!(Mark::of(&[]), Ok(Mark::Nothing));
    }
}
