//! Passwords that are tried first. Lists of leaked passwords have few that are long enough for us, and those are nearly all made in
//! the same ways: words that everybody takes, rows of keys, repetitions, with a year, a count or an exclamation mark. So it is
//! the ways that are refused, and not a list of what came of them.

/// How much there has to be beside what is refused.
const OWN: usize = 6;

/// Words that everybody takes, as they are after `plain` in `password`.
const WORDS: &str = include_str!("common_words.txt");

/// Rows that fingers and heads go along.
const ROWS: &[&str] = &[
    "01234567890123456789",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
    "1q2w3e4r5t6y7u8i9o0p",
];
/// The shortest part of a row that counts as one.
const SHORTEST: usize = 3;

/// Whether a password is one of those, or made of the user's own address.
pub(super) fn is_common(password: &str, email: &str) -> bool {
    let password = password.to_lowercase();
    let own = email.to_lowercase();
    let of_address = own.split(['@', '.', '+', '-', '_']).chain([&*own]);
    let of_address: Vec<&str> = of_address.filter(|part| part.len() >= SHORTEST).collect();
    // As it was typed, and with digits as the letters that they stand for: `p4ssw0rd`.
    let left = rest(&password, &of_address).min(rest(&spelt(&password), &of_address));
    left < OWN
}

/// How many different characters are left of a password without the words and rows in it, each counted once.
fn rest(password: &str, of_address: &[&str]) -> usize {
    let mut left = password.to_owned();
    let mut words: Vec<&str> = WORDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .chain(of_address.iter().copied())
        .collect();
    // The long ones first: `passw` must not break up `password`.
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words {
        left = left.replace(word, " ");
    }
    let left = without_rows(&left);
    let mut own: Vec<char> = left
        .chars()
        .filter(|c| !c.is_whitespace() && !c.is_ascii_digit() && !c.is_ascii_punctuation())
        .collect();
    let decoration = left.chars().filter(|c| !c.is_whitespace()).count() - own.len();
    own.sort_unstable();
    own.dedup();
    // A year and an exclamation mark are five characters that add next to nothing.
    own.len() + decoration.saturating_sub(4)
}

/// Without the parts of rows, forwards and backwards.
fn without_rows(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let rows: Vec<Vec<char>> = ROWS
        .iter()
        .flat_map(|row| [row.chars().collect(), row.chars().rev().collect()])
        .collect();
    let mut left = String::new();
    let mut at = 0;
    while at < text.len() {
        let longest = rows
            .iter()
            .map(|row| common_run(&text[at..], row))
            .chain([run_of_one(&text[at..])])
            .max()
            .unwrap_or(0);
        if longest >= SHORTEST {
            left.push(' ');
            at += longest;
        } else {
            left.push(text[at]);
            at += 1;
        }
    }
    left
}

/// How much of the text's beginning is a part of the row.
fn common_run(text: &[char], row: &[char]) -> usize {
    let of = |start: usize| {
        let pairs = text.iter().zip(&row[start..]);
        pairs.take_while(|(a, b)| a == b).count()
    };
    (0..row.len()).map(of).max().unwrap_or(0)
}

/// How often the first character comes in a row.
fn run_of_one(text: &[char]) -> usize {
    let first = text.first();
    text.iter().take_while(|c| Some(*c) == first).count()
}

/// Digits and signs as the letters that they stand for.
fn spelt(text: &str) -> String {
    let letter = |c| match c {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    text.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_rows_and_repetitions_are_common_however_they_are_dressed_up() {
        for common in [
            "123456789012",
            "000000000000",
            "1234567890123",
            "qwertyuiop12",
            "qwerty123456",
            "1q2w3e4r5t6y",
            "1qaz2wsx3edc",
            "abcdefghijkl",
            "abcabcabcabc",
            "aaaaaaaaaaaa",
            "abababababab",
            "password1234",
            "passwordpassword",
            "Password2024!",
            "P4ssw0rd2024",
            "p@$$w0rd1234",
            "iloveyou1234",
            "welcome12345",
            "administrator",
            "admin@123456",
            "letmein123456",
            "senha1234567",
            "mudar1234567",
            "Brasil@2024!",
            "Dragon123456!",
            "changeme1234",
            "adminadmin123",
            "etletletletl",
            "987654321098",
            "!!!!!!!!!!!!",
            "ana.souza@example.org",
            "anasouza2024",
            "example.org1",
        ] {
            assert!(is_common(common, "ana.souza@example.org"), "{common}");
        }
    }

    #[test]
    fn what_somebody_thought_of_is_not() {
        for own in [
            "correct horse battery",
            "tr0ub4dor&3xyz",
            "o gato subiu no telhado",
            "kV8#mQ2!zR7@",
            "purple monkey dishwasher",
            "Zwölf Boxkämpfer",
            "五百円玉をください五百円",
            "f3b1c0a97d24",
        ] {
            assert!(!is_common(own, "ana.souza@example.org"), "{own}");
        }
    }
}
