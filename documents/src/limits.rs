//! Every bound of the language, in one place; each refusal names the one it hit.
//! Never a soft hint: nothing in this crate grows past these.

/// Bytes of a document's text; the API's own quota for document content.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
/// Levels of lists and maps inside one another. The deepest form in use (a step's precondition) needs five.
pub const DEPTH_MAX: usize = 24;
/// Steps of a document.
pub const STEPS_MAX: usize = 100;
/// Parameters a document declares; the API's own quota.
pub const PARAMETERS_MAX: usize = 200;
/// Bytes of a parameter's, step's or document's name; the API's bound of document names.
pub const NAME_BYTES_MAX: usize = 128;
/// Entries of `allowedValues`.
pub const ALLOWED_VALUES_MAX: usize = 200;
/// Bytes of an `allowedPattern`.
pub const PATTERN_BYTES_MAX: usize = 2 * 1024;
/// Bytes of memory one compiled `allowedPattern` may take. Matching takes time in proportion to
/// this and to the value's length, so it also bounds how long a value can keep a node busy.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all values bound to one document together, one more counted for each item.
pub const VALUES_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all resolved inputs of one plan: a short document may name a long value many times.
pub const PLAN_BYTES_MAX: usize = 256 * 1024;
/// Seconds a step may run when its document does not say; the API's default.
pub const TIMEOUT_SECONDS_DEFAULT: u32 = 3_600;
/// Seconds a step may run at most (48 hours); the API's bound of `executionTimeout`.
pub const TIMEOUT_SECONDS_MAX: u32 = 172_800;

/// Bytes of a quoted value in an error.
const EXCERPT_BYTES_MAX: usize = 80;

/// The start of `text` that an error may quote: bounded, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    excerpt_of(text, EXCERPT_BYTES_MAX)
}

/// The same, with a bound of its own.
pub(crate) fn excerpt_of(text: &str, bytes_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= bytes_max {
            out.push('…');
            break;
        }
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
