//! Who a command runs as: `name|uid[:group|gid]` resolved against the contents of passwd(5) and
//! group(5).
//!
//! The files are the container's, so a line that makes no sense is passed over. The rules are
//! those of `docker run --user`: a name that is in passwd goes before a number; a number need not
//! be there (its group is then 0, its home `/`); supplementary groups are those that list the
//! name, and there are none where the request names a group itself.

use std::{ffi::CString, fmt};

/// Whom to run a command as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Supplementary groups, in ascending order, without repeats.
    pub groups: Vec<u32>,
    /// The user's name; its number where it has none.
    pub name: CString,
    /// The home directory.
    pub home: CString,
    /// The login shell.
    pub shell: CString,
}

/// Why nobody can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    /// Neither a name in passwd nor a number.
    UnknownUser(String),
    /// Neither a name in the group file nor a number.
    UnknownGroup(String),
}

/// Finds who `wanted` is.
pub fn identify(wanted: &str, passwd: &[u8], group: &[u8]) -> Result<Identity, IdentityError> {
    let (user, own_group) = match wanted.split_once(':') {
        Some((user, own_group)) => (user, Some(own_group)),
        None => (wanted, None),
    };
    let mut identity =
        find_user(user, passwd).ok_or_else(|| IdentityError::UnknownUser(user.to_string()))?;
    match own_group {
        Some(name) => {
            identity.gid = find_group(name, group)
                .ok_or_else(|| IdentityError::UnknownGroup(name.to_string()))?;
        }
        None => identity.groups = groups_of(identity.name.as_bytes(), group),
    }
    Ok(identity)
}

/// The name of the user with this number, if it has one.
pub fn user_name(uid: u32, passwd: &[u8]) -> Option<String> {
    let mut accounts = lines(passwd).filter_map(parse_account);
    let account = accounts.find(|account| account.uid == uid)?;
    Some(account.name.to_string_lossy().into_owned())
}

/// The name of the group with this number, if it has one.
pub fn group_name(gid: u32, group: &[u8]) -> Option<String> {
    let (name, ..) = lines(group).filter_map(parse_group).find(|(_, number, _)| *number == gid)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

fn find_user(wanted: &str, passwd: &[u8]) -> Option<Identity> {
    let accounts = || lines(passwd).filter_map(parse_account);
    if let Some(named) = accounts().find(|account| account.name.as_bytes() == wanted.as_bytes()) {
        return Some(named);
    }
    let uid = parse_id(wanted.as_bytes())?;
    Some(accounts().find(|account| account.uid == uid).unwrap_or_else(|| Identity {
        uid,
        gid: 0,
        groups: Vec::new(),
        name: CString::new(uid.to_string()).expect("digits have no NUL"),
        home: c"/".into(),
        shell: c"/bin/sh".into(),
    }))
}

fn find_group(wanted: &str, group: &[u8]) -> Option<u32> {
    let mut named = lines(group).filter_map(parse_group);
    let named = named.find(|(name, ..)| *name == wanted.as_bytes()).map(|(_, gid, _)| gid);
    named.or_else(|| parse_id(wanted.as_bytes()))
}

fn groups_of(user: &[u8], group: &[u8]) -> Vec<u32> {
    let has = |members: &[u8]| members.split(|byte| *byte == b',').any(|member| member == user);
    let mut groups: Vec<_> = lines(group)
        .filter_map(parse_group)
        .filter(|(_, _, members)| has(members))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"))
}

/// Takes `name:password:uid:gid:comment:home:shell`; home and shell may be missing.
fn parse_account(line: &[u8]) -> Option<Identity> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = parse_id(fields.nth(1)?)?;
    let gid = parse_id(fields.next()?)?;
    let mut text = |skip: usize, default: &str| {
        let field = fields.nth(skip).map(<[u8]>::trim_ascii).filter(|field| !field.is_empty());
        CString::new(field.unwrap_or(default.as_bytes())).ok()
    };
    let (home, shell) = (text(1, "/")?, text(0, "/bin/sh")?);
    Some(Identity { uid, gid, groups: Vec::new(), name: CString::new(name).ok()?, home, shell })
}

/// Takes `name:password:gid:members`.
fn parse_group(line: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = parse_id(fields.nth(1)?)?;
    Some((name, gid, fields.next().unwrap_or_default().trim_ascii()))
}

/// Takes a number that can be a user's or a group's: the largest one means "unchanged" to the
/// kernel.
fn parse_id(field: &[u8]) -> Option<u32> {
    let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let id = std::str::from_utf8(field).ok().filter(|_| digits)?.parse().ok()?;
    (id != u32::MAX).then_some(id)
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownUser(user) => write!(f, "user {user:?} is not in /etc/passwd"),
            Self::UnknownGroup(group) => write!(f, "group {group:?} is not in /etc/group"),
        }
    }
}

impl std::error::Error for IdentityError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"# people\nroot:x:0:0:root:/root:/bin/bash\nbroken\n:x:5:5::/:/\n\
        ann:x:1000:1001:Ann,,,:/home/ann:/bin/zsh\n1000:x:7:8::/seven:\nbare:x:9:9\n\
        far:x:4294967295:1::/:\nneg:x:-1:1::/:\n\xff\xfe:x:11:11::/\xff:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nadm:x:4:ann,root\nann:x:1001:\nwheel:x:2:ann\n\
        again:x:4:ann\nempty::3\nanna:x:77:anna,xann\n";

    /// uid, gid, groups, name, home, shell.
    type Row<'a> = (u32, u32, &'a [u32], &'a str, &'a str, &'a str);

    fn check(wanted: &str, expected: Result<Row<'_>, &str>) {
        let found = identify(wanted, PASSWD, GROUP);
        let found = found.as_ref().map(|i| {
            let text = |text: &'_ CString| text.to_str().unwrap().to_string();
            (i.uid, i.gid, i.groups.clone(), text(&i.name), text(&i.home), text(&i.shell))
        });
        let expected = expected.map(|(uid, gid, groups, name, home, shell)| {
            (uid, gid, groups.to_vec(), name.to_string(), home.to_string(), shell.to_string())
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{wanted}"),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            (found, expected) => panic!("{wanted}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn who_is_meant() {
        check("root", Ok((0, 0, &[4], "root", "/root", "/bin/bash")));
        check("ann", Ok((1000, 1001, &[2, 4], "ann", "/home/ann", "/bin/zsh")));
        // A name of digits goes before the number.
        check("1000", Ok((7, 8, &[], "1000", "/seven", "/bin/sh")));
        check("9", Ok((9, 9, &[], "bare", "/", "/bin/sh")));
        check("4242", Ok((4242, 0, &[], "4242", "/", "/bin/sh")));
        check("ann:wheel", Ok((1000, 2, &[], "ann", "/home/ann", "/bin/zsh")));
        check("ann:12", Ok((1000, 12, &[], "ann", "/home/ann", "/bin/zsh")));
        check("4242:empty", Ok((4242, 3, &[], "4242", "/", "/bin/sh")));
        check("4294967294", Ok((u32::MAX - 1, 0, &[], "4294967294", "/", "/bin/sh")));
    }

    #[test]
    fn who_is_nobody() {
        for unknown in ["", "bob", "-1", "+1", "4294967295", "4294967296", "far", "neg", ":ann"] {
            check(unknown, Err("is not in /etc/passwd"));
        }
        for unknown in ["ann:", "ann:nobody", "0:-1", "ann:ann:ann"] {
            check(unknown, Err("is not in /etc/group"));
        }
    }

    #[test]
    fn numbers_have_the_first_name_that_stands_for_them() {
        let user = |uid| user_name(uid, PASSWD);
        let group = |gid| group_name(gid, GROUP);
        assert_eq!(user(0).as_deref(), Some("root"));
        assert_eq!(user(7).as_deref(), Some("1000"), "a name of digits is no number");
        assert_eq!(user(11).as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(user(4242), None);
        assert_eq!(group(4).as_deref(), Some("adm"));
        assert_eq!(group(4242), None);
    }

    proptest! {
        #[test]
        fn nothing_in_the_files_makes_us_panic(
            wanted in "[a-z0-9:]{0,8}",
            passwd in proptest::collection::vec(prop_oneof![Just(b':'), Just(b'\n'), Just(b'1'), any::<u8>()], 0..200),
        ) {
            user_name(1, &passwd);
            group_name(1, &passwd);
            if let Ok(identity) = identify(&wanted, &passwd, &passwd) {
                prop_assert!(identity.uid != u32::MAX && identity.gid != u32::MAX);
            }
        }
    }
}
