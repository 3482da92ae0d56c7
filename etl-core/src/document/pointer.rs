//! JSON pointers (RFC 6901).

/// One part of a pointer, escaped.
pub(crate) fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// One part of a pointer as it was before escaping.
pub(crate) fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Everything but the last part, and the last part; `None` for the whole document.
pub(crate) fn split(pointer: &str) -> Option<(&str, String)> {
    pointer
        .rsplit_once('/')
        .map(|(parent, last)| (parent, unescape(last)))
}
