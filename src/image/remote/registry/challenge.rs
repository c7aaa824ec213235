//! What a server wants to see: the header `WWW-Authenticate` (RFC 9110).

/// One way to prove who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password.
    Basic,
    /// A token that a service gives.
    Bearer {
        /// The service's address.
        realm: String,
        /// What it is told that the token is for.
        service: Option<String>,
        /// What the token is to allow.
        scope: Option<String>,
    },
}

/// The ways that one header offers, without those that nobody knows.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| " \t,=".contains(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let (word, after) = rest.split_at(end);
        match (after.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = value_of(value.trim_start());
                parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(_), None) => break,
            (None, _) => {
                found.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    found.into_iter().filter_map(|(scheme, parameters)| known(&scheme, parameters)).collect()
}

fn known(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    let find = |name: &str| {
        parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: find("realm")?,
            service: find("service"),
            scope: find("scope"),
        }),
        _ => None,
    }
}

/// A value, quoted or not, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match (c, escaped) {
            ('\\', false) => escaped = true,
            ('"', false) => return (value, &quoted[at + 1..]),
            (c, _) => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope) }
    }

    #[test]
    fn what_registries_send() {
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        let scope = Some("repository:a/b:pull,push");
        let wanted = bearer("https://auth.docker.io/token", Some("registry.docker.io"), scope);
        assert_eq!(parse(docker), [wanted]);
        assert_eq!(parse(r#"Basic realm="a, b""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        let both = r#"Negotiate, BEARER Realm = "x\"y" , Basic realm=z"#;
        assert_eq!(parse(both), [bearer("x\"y", None, None), Challenge::Basic]);
        for nothing in ["", "Digest realm=x", "Bearer scope=x", "=x", r#"Digest a=",Basic"#] {
            assert_eq!(parse(nothing), [], "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "(Basic|Bearer|[a-z \"=,\\\\\\t]){0,20}") {
            parse(&header);
        }
    }
}
