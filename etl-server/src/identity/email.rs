//! Addresses of mail, by which people sign in.

/// The longest one.
const LONGEST: usize = 254;

/// What is wrong with an address, as far as can be told without sending a mail.
pub(crate) fn fault(address: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let is_one = address.len() <= LONGEST
        && !local.is_empty()
        && local.chars().all(is_plain)
        && domain.split('.').all(is_label);
    (!is_one).then_some("it is no address of mail: NAME@DOMAIN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_by_its_form() {
        for good in [
            "ana@example.org",
            "a.b+c@x-y.example",
            "root@localhost",
            "ação@exemplo.com.br",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            "@",
            "ana",
            "ana@",
            "@example.org",
            "a b@example.org",
            "a@b@example.org",
            "ana@example..org",
            "ana@.org",
            "ana@exa mple",
            "ana@example.org\n",
            "a:b@example.org",
            "\"a\"@example.org",
            "<a@example.org>",
            "a\u{202e}@example.org",
            &format!("{}@example.org", "a".repeat(300)),
        ] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }
}
