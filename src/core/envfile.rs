//! Files of environment variables: `KEY=VALUE` lines, as `docker run --env-file` and shells read
//! them.
//!
//! - Blank lines and lines that begin with `#` are passed over; `export ` before a key too.
//! - An unquoted value is what follows the `=`, without the blanks around it. A `#` in it is part
//!   of it: passwords have them.
//! - In single quotes everything is literal; in double quotes `\n`, `\r`, `\t`, `\\`, `\"`, `\$`
//!   and `` \` `` mean one character each and other backslashes themselves. Both may span lines.
//!   After the closing quote only blanks and a comment may come.
//! - Nothing is expanded. A line may end in CR LF.
//!
//! Errors name lines and keys, never values.

use std::fmt;

use super::spec::{EnvVar, SpecError};

/// What is wrong with such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFileError {
    /// The line, counted from 1; of a quoted value the one where it begins.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no `=`.
    NoEquals,
    /// The key or the value cannot be in an environment.
    Variable(SpecError),
    /// The quote that opens the value is never closed.
    OpenQuote,
    /// Something comes after the closing quote.
    AfterQuote,
    /// The file is not UTF-8 from this line on.
    NotUtf8,
}

/// Takes the variables of a file, in its order; a key may come twice.
pub fn parse(file: &[u8]) -> Result<Vec<EnvVar>, EnvFileError> {
    let text = std::str::from_utf8(file).map_err(|error| EnvFileError {
        line: line_at(&file[..error.valid_up_to()]),
        problem: Problem::NotUtf8,
    })?;
    let mut variables = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (variable, after) = take_entry(rest).map_err(|problem| {
            let line = line_at(&file[..file.len() - rest.len()]);
            EnvFileError { line, problem }
        })?;
        variables.extend(variable);
        rest = after;
    }
    Ok(variables)
}

/// The number of the line that comes after these bytes.
fn line_at(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// Takes one line, or as many as a quoted value spans; returns what follows.
fn take_entry(text: &str) -> Result<(Option<EnvVar>, &str), Problem> {
    let (line, after) = take_line(text);
    let entry = line.trim_start();
    if entry.is_empty() || entry.starts_with('#') {
        return Ok((None, after));
    }
    let (key, value) = entry.split_once('=').ok_or(Problem::NoEquals)?;
    let key = key.strip_prefix("export ").unwrap_or(key).trim();
    let value = value.trim();
    let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let (value, after) = match quote {
        None => (value.to_string(), after),
        Some(quote) => {
            let opened = line.find('=').and_then(|equals| {
                let open = text[equals..].find(quote)?;
                Some(&text[equals + open + 1..])
            });
            let (value, after) = take_quoted(opened.ok_or(Problem::OpenQuote)?, quote)?;
            let (trailer, after) = take_line(after);
            let trailer = trailer.trim();
            if !trailer.is_empty() && !trailer.starts_with('#') {
                return Err(Problem::AfterQuote);
            }
            (value, after)
        }
    };
    let variable = EnvVar::parse(key, &value).map_err(Problem::Variable)?;
    Ok((Some(variable), after))
}

fn take_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// Takes a value up to its closing quote; returns what follows that.
fn take_quoted(text: &str, quote: char) -> Result<(String, &str), Problem> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((value, &text[at + 1..]));
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        match chars.next().ok_or(Problem::OpenQuote)?.1 {
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            c @ ('\\' | '"' | '$' | '`') => value.push(c),
            c => value.extend(['\\', c]),
        }
    }
    Err(Problem::OpenQuote)
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEquals => f.write_str("no '='"),
            Self::Variable(error) => error.fmt(f),
            Self::OpenQuote => f.write_str("value's quote is never closed"),
            Self::AfterQuote => f.write_str("text after the value's closing quote"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
        }
    }
}

impl std::error::Error for EnvFileError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(file: &str) -> Vec<(String, String)> {
        let variables = parse(file.as_bytes()).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        variables.iter().map(|v| (v.key().to_string(), v.value().to_string())).collect()
    }

    #[test]
    fn what_a_file_says() {
        let cases: [(&str, &[(&str, &str)]); 13] = [
            ("", &[]),
            ("\n  \n# A=1\n \t# B=2\r\n", &[]),
            ("A=1", &[("A", "1")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("A=1\nA=2\n", &[("A", "1"), ("A", "2")]),
            ("export A=1\n  export B = 2 \n", &[("A", "1"), ("B", "2")]),
            ("A=\nB=''\nC=\"\"", &[("A", ""), ("B", ""), ("C", "")]),
            ("A=x=y # z\n", &[("A", "x=y # z")]),
            ("A='a \\n \"b\" # c' # d\nB=2", &[("A", "a \\n \"b\" # c"), ("B", "2")]),
            (r#"A="\n\r\t\\\"\$\`\x'""#, &[("A", "\n\r\t\\\"$`\\x'")]),
            ("K=\"-----\nab=c\n-----\"\nB=2\n", &[("K", "-----\nab=c\n-----"), ("B", "2")]),
            ("A=it's\nB=a\"b\"\n", &[("A", "it's"), ("B", "a\"b\"")]),
            ("A=$B ${C} `d`", &[("A", "$B ${C} `d`")]),
        ];
        for (file, expected) in cases {
            let expected: Vec<_> =
                expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(pairs(file), expected, "{file:?}");
        }
    }

    #[test]
    fn what_is_wrong_and_where() {
        let cases: [(&[u8], &str); 9] = [
            (b"A=1\nB\n", "line 2: no '='"),
            (b"\n\n1A=hidden", "line 3: environment key \"1A\""),
            (b"=hidden", "line 1: environment key \"\""),
            (b"A B=hidden", "line 1: environment key \"A B\""),
            (b"A=1\nB='hidden\n\n", "line 2: value's quote is never closed"),
            (b"A=\"hidden\\", "line 1: value's quote is never closed"),
            (b"A='x\ny'\nB='hidden'hidden", "line 3: text after"),
            (b"A=hid\0den", "line 1: value of A has a NUL byte"),
            (b"A=1\nB=2\nC=\xff", "line 3: not UTF-8"),
        ];
        for (file, expected) in cases {
            let error = parse(file).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error:?} instead of {expected:?}");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_quoted_is_read_back(
            values in proptest::collection::vec("[^'\0]{0,20}", 0..6),
        ) {
            let file: String = values.iter().map(|value| format!("export K='{value}'\n")).collect();
            let read: Vec<_> = pairs(&file).into_iter().map(|(_, value)| value).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn what_is_written_escaped_is_read_back(value in "[^\0]{0,40}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let file = format!("K=\"{escaped}\" # end\nL=1");
            prop_assert_eq!(pairs(&file), [("K".to_string(), value), ("L".into(), "1".into())]);
        }

        #[test]
        fn no_file_makes_us_panic(bytes: Vec<u8>, text in "[A-C='\"\\\\ #\n\r]{0,60}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }
    }
}
