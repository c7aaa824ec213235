//! The marks by which the processes of an exec are known: a label and a cookie.
//!
//! The *label* is a hard limit that nobody uses (RLIMIT_RTTIME, the CPU time of a real-time
//! thread without a blocking call, 64 bits wide), set in each exec's first process to a value of
//! its own. Everything it starts inherits it, through `env -i` and setsid(2) too; everybody can
//! read it in /proc/PID/limits; and only CAP_SYS_RESOURCE can raise it again. The values are
//! thousands of years of CPU time, so as a limit it does nothing.
//!
//! The *cookie* is an environment variable with a random value: for kernels where that limit
//! cannot be set (gVisor), and for processes that raised it.
//!
//! A process may lower its label further and so leave its tree, unless a cgroup holds it.

use std::{
    fmt::{self, Write},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The environment variable that carries an exec's [`Cookie`].
pub const COOKIE_VARIABLE: &str = "DOORWARD_EXEC";

/// The hard limit that marks the processes of one exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label(u64);

/// The labels of one agent: one base, drawn at start, and a counter in the low 32 bits.
#[derive(Debug)]
pub struct Labels {
    source: Result<Source, String>,
    counter: AtomicU32,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    family: Family,
    /// The soft limit we were started with; it stays where it is if it is below every label.
    soft: Option<u64>,
}

/// What all labels of one agent share: the bits above the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family(u64);

/// The random value of an exec's [`COOKIE_VARIABLE`]: 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie(Box<str>);

/// Bits of the counter in a label.
const COUNTER_BITS: u32 = 32;
/// The highest bit of a label where the limit was infinite. Not bit 63: the limit is a signed
/// number to some who read it.
const TOP_BIT_MAX: u32 = 62;
/// The lowest top bit that is good enough: a hundred days of CPU time for the limit, and
/// eleven random bits to tell nested agents apart.
const TOP_BIT_MIN: u32 = 43;

impl Labels {
    /// Draws a base below the limit that we were started with.
    pub fn new() -> Self {
        Self { source: Source::draw(), counter: AtomicU32::new(0) }
    }

    /// No labels, for this reason: every process is then known by its cookie and its ancestors.
    pub fn none(reason: &str) -> Self {
        Self { source: Err(reason.to_string()), counter: AtomicU32::new(0) }
    }

    /// A label that no other exec of this agent has (until 2^32 of them were taken).
    pub fn next(&self) -> Option<Label> {
        let source = self.source.as_ref().ok()?;
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        Some(Label(source.family.0 | u64::from(counter)))
    }

    /// The limit to set in an exec's first process: setrlimit(RLIMIT_RTTIME).
    pub fn limit(&self, label: Label) -> libc::rlimit {
        let soft = self.source.as_ref().ok().and_then(|source| source.soft);
        libc::rlimit { rlim_cur: soft.unwrap_or(label.0).min(label.0), rlim_max: label.0 }
    }

    /// What all our labels share.
    pub fn family(&self) -> Option<Family> {
        self.source.as_ref().ok().map(|source| source.family)
    }

    /// Why there are no labels, if there are none.
    pub fn missing(&self) -> Option<&str> {
        self.source.as_ref().err().map(String::as_str)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    fn draw() -> Result<Self, String> {
        let limit = getrlimit(Resource::Rttime);
        // Setting what is set changes nothing, and shows whether it can be set at all.
        let unchanged = Rlimit { current: limit.current, maximum: limit.maximum };
        setrlimit(Resource::Rttime, unchanged)
            .map_err(|errno| format!("set RLIMIT_RTTIME: {errno}"))?;
        let limits = std::fs::read("/proc/self/limits")
            .map_err(|error| format!("read /proc/self/limits: {error}"))?;
        if Label::find(&limits) != limit.maximum.map(Label) {
            return Err("/proc/self/limits does not show RLIMIT_RTTIME".to_string());
        }
        let random = random()?;
        let family = Family::below(limit.maximum, u64::from_ne_bytes(random))
            .ok_or_else(|| format!("RLIMIT_RTTIME is already {:?} us", limit.maximum))?;
        Ok(Self { family, soft: limit.current })
    }
}

impl Family {
    /// A family whose labels all lie below `hard` (none is infinite), if there is room for one.
    fn below(hard: Option<u64>, random: u64) -> Option<Self> {
        let top = match hard {
            None => TOP_BIT_MAX,
            Some(hard) => hard.checked_ilog2()?.checked_sub(1)?.min(TOP_BIT_MAX),
        };
        if top < TOP_BIT_MIN {
            return None;
        }
        let random = random & ((1 << top) - 1) & !((1 << COUNTER_BITS) - 1);
        Some(Self((1 << top) | random))
    }

    /// Whether this label is one of ours.
    pub fn has(self, label: Label) -> bool {
        label.0 >> COUNTER_BITS == self.0 >> COUNTER_BITS
    }
}

impl Label {
    /// What it shares with the other labels of the agent that made it.
    pub(super) fn family(self) -> Family {
        Family(self.0 >> COUNTER_BITS << COUNTER_BITS)
    }

    /// Finds the label in what /proc/PID/limits says; an infinite limit is none.
    pub(super) fn find(limits: &[u8]) -> Option<Self> {
        let line = limits
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"Max realtime timeout"))?;
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok().map(Self)
    }
}

impl Cookie {
    /// A random cookie. Fails only where the kernel gives no random bytes.
    pub fn random() -> Result<Self, String> {
        let random = random::<16>()?;
        let mut text = String::with_capacity(2 * random.len());
        for byte in random {
            write!(text, "{byte:02x}").expect("a string takes all that is written");
        }
        Ok(Self(text.into()))
    }

    /// Finds the cookie in what /proc/PID/environ says.
    pub(super) fn find(environ: &[u8]) -> Option<Self> {
        let value = environ.split(|byte| *byte == 0).find_map(|variable| {
            variable.strip_prefix(COOKIE_VARIABLE.as_bytes())?.strip_prefix(b"=")
        });
        std::str::from_utf8(value?).ok().map(|value| Self(value.into()))
    }

    /// The variable's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole entry, as it stands in an environment.
    pub fn entry(&self) -> String {
        format!("{COOKIE_VARIABLE}={}", self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("get random bytes: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_differ_share_their_family_and_are_found_in_a_child() {
        let labels = Labels::new();
        assert_eq!(labels.missing(), None);
        let [first, second] = [labels.next().unwrap(), labels.next().unwrap()];
        assert_ne!(first, second);
        let family = labels.family().unwrap();
        assert!(family.has(first) && family.has(second));
        assert!(!family.has(Label(first.0 ^ (1 << COUNTER_BITS))));

        let limit = labels.limit(second);
        let set = format!("ulimit -R {} 2>/dev/null; cat /proc/self/limits", limit.rlim_max);
        let shell = std::process::Command::new("bash").args(["-c", &set]).output().unwrap();
        let text = String::from_utf8(shell.stdout).unwrap();
        assert_eq!(Label::find(text.as_bytes()), Some(second), "{text}");
    }

    #[test]
    fn labels_in_what_the_kernel_writes() {
        let limits =
            |values: &str| format!("Limit  Soft\nMax realtime timeout      {values}  us\n");
        let cases = [
            ("unlimited            unlimited", None),
            ("unlimited            5", Some(Label(5))),
            ("7                    4611686018427387904", Some(Label(1 << 62))),
            ("7                    99999999999999999999", None),
            ("7", None),
        ];
        for (values, label) in cases {
            assert_eq!(Label::find(limits(values).as_bytes()), label, "{values}");
        }
        assert_eq!(Label::find(b""), None);
    }

    #[test]
    fn a_low_limit_leaves_no_room() {
        assert_eq!(Family::below(Some(0), 0), None);
        assert_eq!(Family::below(Some(1), 0), None);
        assert_eq!(Family::below(Some(200_000), 0), None);
        assert_eq!(Family::below(Some((1 << 44) - 1), 0), None);
        assert_eq!(Family::below(Some(1 << 44), 0), Some(Family(1 << 43)));
    }

    #[test]
    fn cookies_are_32_digits() {
        let cookie = Cookie::random().unwrap();
        assert_eq!(cookie.as_str().len(), 32);
        assert_ne!(cookie, Cookie::random().unwrap());
        let environ = format!("A=1\0{}\0B=", cookie.entry());
        assert_eq!(Cookie::find(environ.as_bytes()), Some(cookie));
        for none in ["", "DOORWARD_EXEC", "X=DOORWARD_EXEC=1", "XDOORWARD_EXEC=1"] {
            assert_eq!(Cookie::find(none.as_bytes()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn every_label_lies_below_the_limit(hard: Option<u64>, random: u64, counter: u32) {
            if let Some(family) = Family::below(hard, random) {
                let label = Label(family.0 | u64::from(counter));
                prop_assert!(label.0 < hard.unwrap_or(1 << 63));
                prop_assert!(label.0 >= 1 << TOP_BIT_MIN);
                prop_assert!(family.has(label));
                // An agent within an exec of this one finds room in turn, for its own family.
                if let Some(nested) = Family::below(Some(label.0), random) {
                    prop_assert!(nested != family);
                }
            }
        }
    }
}
