//! Text with `{{ name }}` in it: found once when the document is read, filled once when a plan is made.
//! Never looks into a value: what a value holds is literal, whatever it looks like.

/// A text of a document, cut at its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Text as it stands.
    Literal(String),
    /// A declared parameter's name.
    Parameter(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadReference {
    /// Of a kind this version does not resolve.
    Unsupported(String),
    /// A parameter's form, and no parameter of that name.
    Undeclared(String),
}

/// Whose braces an unknown `{{ word }}` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Braces {
    /// The document's alone, so an unknown word is a mistake.
    Document,
    /// Also those of the languages inside a script (Go templates, Jinja), so it stays as it is.
    Script,
}

impl Template {
    /// Cuts `text` at its references. `declared` tells whether a parameter has that name.
    pub(crate) fn parse(
        text: &str,
        braces: Braces,
        declared: impl Fn(&str) -> bool,
    ) -> Result<Self, BadReference> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let (before, from) = rest.split_at(start);
            literal.push_str(before);
            match reference(from) {
                Some((name, after)) if declared(name) => {
                    if !literal.is_empty() {
                        segments.push(Segment::Literal(std::mem::take(&mut literal)));
                    }
                    segments.push(Segment::Parameter(name.to_owned()));
                    rest = after;
                    continue;
                }
                Some((name, _)) if is_reserved(name) => {
                    return Err(BadReference::Unsupported(name.to_owned()));
                }
                Some((name, _)) if braces == Braces::Document => {
                    return Err(BadReference::Undeclared(name.to_owned()));
                }
                Some(_) | None => {}
            }
            // Only one brace is passed over, so that `{{{ name }}}` keeps its outer pair.
            literal.push('{');
            rest = from.strip_prefix('{').unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Self { segments })
    }

    /// The whole text, if it has no reference.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [] => Some(""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The parameter's name, if the text is one reference and nothing else.
    pub(crate) fn sole_parameter(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [Segment::Parameter(name)] => Some(name),
            _ => None,
        }
    }
}

/// Splits `{{ name }}…` into name and what follows; `None` when the braces hold anything else.
fn reference(from: &str) -> Option<(&str, &str)> {
    let inside = from.strip_prefix("{{")?.trim_ascii_start();
    let end = inside.find(|c: char| !is_reference_char(c))?;
    let (name, after) = inside.split_at(end);
    let after = after.trim_ascii_start().strip_prefix("}}")?;
    let opens_as_a_name = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    opens_as_a_name.then_some((name, after))
}

fn is_reference_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/')
}

/// Forms that the platform gives a meaning of its own.
fn is_reserved(name: &str) -> bool {
    name == "platformType"
        || is_store(name)
        || ["global:", "automation:", "resolve:"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn is_store(name: &str) -> bool {
    name.starts_with("ssm:") || name.starts_with("ssm-secure:")
}

/// The first reference to a parameter store inside a value. The API resolves these even in
/// supplied values, so passing one on as text would hand a script the wrong secret in silence.
pub(crate) fn store_reference(value: &str) -> Option<String> {
    let mut rest = value;
    while let Some(start) = rest.find("{{") {
        let from = rest.get(start..).unwrap_or_default();
        match reference(from) {
            Some((name, _)) if is_store(name) => return Some(crate::limits::excerpt(name)),
            Some(_) | None => rest = from.get(1..).unwrap_or_default(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, braces: Braces) -> Result<String, BadReference> {
        let declared = |name: &str| matches!(name, "a" | "commands");
        Template::parse(text, braces, declared).map(|template| {
            template
                .segments
                .iter()
                .map(|segment| match segment {
                    Segment::Literal(text) => text.clone(),
                    Segment::Parameter(name) => format!("<{name}>"),
                })
                .collect()
        })
    }

    #[test]
    fn references_are_found_with_and_without_spaces() {
        let found = |text| parse(text, Braces::Document).unwrap();
        assert_eq!(
            found("{{a}} x {{ commands }}{{\ta }}"),
            "<a> x <commands><a>"
        );
        assert_eq!(found("{{{ a }}}"), "{<a>}");
        assert_eq!(found("plain { } }} {{"), "plain { } }} {{");
        assert_eq!(found(""), "");
    }

    #[test]
    fn braces_of_other_languages_stay_in_scripts() {
        let found = |text| parse(text, Braces::Script).unwrap();
        let go = "docker ps --format '{{.Names}}' {{range .Mounts}}{{end}} {{ a }}";
        assert_eq!(found(go), go.replace("{{ a }}", "<a>"));
        assert_eq!(
            parse("{{ nmae }}", Braces::Document),
            Err(BadReference::Undeclared("nmae".to_owned()))
        );
    }

    #[test]
    fn reserved_references_are_refused_by_name_even_in_scripts() {
        for name in [
            "ssm:db",
            "ssm-secure:db:2",
            "ssm:/a/b-c",
            "global:DATE",
            "platformType",
        ] {
            assert_eq!(
                parse(&format!("x {{{{ {name} }}}}"), Braces::Script),
                Err(BadReference::Unsupported(name.to_owned()))
            );
        }
    }

    #[test]
    fn store_references_inside_values_are_found() {
        assert_eq!(
            store_reference("a {{ {{ssm:db}}"),
            Some("ssm:db".to_owned())
        );
        assert_eq!(store_reference("{{ a }} {{ssm}} {{ global:DATE }}"), None);
    }
}
