//! The command that becomes a user's login shell, whoever the user is: it is found out where the
//! shell runs, by the one program that nearly every image has.

/// Run by sh(1), which is replaced. SHELL is set by the agent for commands that run as another user;
/// otherwise the account of our number says which shell it is, and if that does not exist either, as in
/// images that were stripped, bash and then sh are tried. An account that may not log in has a
/// shell that only says so, of which nobody has any use here.
///
/// Nothing but the shell itself is needed: no id(1), no grep(1). A plain sh that does not know -l
/// (dash before 0.5.11) is run without.
const SCRIPT: &str = r#"
s=$SHELL
ok() { case $1 in */nologin | */false) return 1 ;; /*) [ -x "$1" ] ;; *) return 1 ;; esac; }
if ! ok "$s" && [ -r /etc/passwd ]; then
  while read -r k u _; do [ "$k" = Uid: ] && break; done </proc/self/status
  while IFS=: read -r _ _ i _ _ _ s; do [ "$i" = "$u" ] && break; done </etc/passwd
fi
for s in "$s" /bin/bash /usr/bin/bash /usr/local/bin/bash /bin/sh; do ok "$s" && break; done
export SHELL="$s"
case ${s##*/} in
  sh | dash) "$s" -l -c : </dev/null >/dev/null 2>&1 || exec "$s" ;;
esac
exec "$s" -l
"#;

/// Program and arguments. The last one is a name for lists of what runs.
pub(crate) fn command() -> Vec<String> {
    ["/bin/sh", "-c", SCRIPT.trim(), "login-shell"].map(String::from).to_vec()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    /// What the shell that is found says of itself, and of `SHELL`.
    fn found(shell: Option<&str>) -> String {
        let words = command();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        match shell {
            Some(shell) => command.env("SHELL", shell),
            None => command.env_remove("SHELL"),
        };
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"echo \"$0 $SHELL\"\n").unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn a_shell_that_exists_is_run() {
        assert_eq!(found(Some("/bin/sh")), "/bin/sh /bin/sh\n");
    }

    #[test]
    fn without_one_the_account_decides() {
        let mine = rustix::process::getuid().as_raw().to_string();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let account = passwd.lines().find(|line| line.split(':').nth(2) == Some(&mine)).unwrap();
        let shell = account.rsplit(':').next().unwrap();
        if shell.ends_with("/nologin") || shell.ends_with("/false") {
            return;
        }
        for nothing in [None, Some(""), Some("/nonexistent"), Some("bash"), Some("/bin/false")] {
            assert_eq!(found(nothing), format!("{shell} {shell}\n"), "{nothing:?}");
        }
    }
}
