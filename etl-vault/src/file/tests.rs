use std::sync::Barrier;

use super::*;

fn place() -> (tempfile::TempDir, KeyFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = KeyFile(folder.path().join("deep/master.key"));
    (folder, file)
}

fn write(file: &KeyFile, content: &[u8], mode: u32) {
    std::fs::create_dir_all(file.0.parent().unwrap()).unwrap();
    std::fs::write(&file.0, content).unwrap();
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_is_made_whole_once_and_for_its_owner_alone() {
    let (folder, file) = place();
    assert_eq!(file.read().unwrap(), None);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                file.make().unwrap();
                assert!(file.read().unwrap().unwrap().current().is_some());
            });
        }
    });
    let first = file.read().unwrap();
    file.make().unwrap();
    assert_eq!(file.read().unwrap(), first);
    let mode = file.0.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left = std::fs::read_dir(folder.path().join("deep"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[test]
fn a_key_is_read_raw_and_in_base64() {
    let (_folder, file) = place();
    let key = Key::new(Zeroizing::new([7; KEY_BYTES]));
    let encoded = STANDARD.encode(key.bytes());
    let crlf = format!("# a comment\r\n\r\ncurrent  {encoded}\r\n");
    let line = format!("{encoded}\n");
    for content in [
        &[7; 32][..],
        encoded.as_bytes(),
        line.as_bytes(),
        crlf.as_bytes(),
    ] {
        write(&file, content, 0o400);
        let keys = file.read().unwrap().unwrap();
        assert_eq!(keys, Keys(vec![(Role::Current, key.clone())]));
        std::fs::remove_file(&file.0).unwrap();
    }
}

#[test]
fn what_is_written_is_read_and_a_link_stays_a_link() {
    let (folder, file) = place();
    file.make().unwrap();
    let link = KeyFile(folder.path().join("link.key"));
    std::os::unix::fs::symlink(&file.0, &link.0).unwrap();
    let keys = Keys(Role::ALL.map(|role| (role, Key::random().unwrap())).into());
    link.replace(&keys).unwrap();
    assert_eq!(link.read().unwrap(), Some(keys.clone()));
    assert_eq!(file.read().unwrap(), Some(keys));
    assert!(link.0.symlink_metadata().unwrap().is_symlink());
}

#[test]
fn what_is_no_key_file_is_refused_and_never_quoted() {
    let (_folder, file) = place();
    let key = STANDARD.encode([7; KEY_BYTES]);
    let other = STANDARD.encode([8; KEY_BYTES]);
    let short = STANDARD.encode([7; 31]);
    for (content, fault) in [
        (String::new(), "it has no current key"),
        (format!("old {key}"), "it has no current key"),
        (
            format!("{key}\n{other}"),
            "it has more than one current key",
        ),
        (
            format!("{key}\nold {key}"),
            "line 2 has the same key as a line above",
        ),
        (
            format!("\n{short}"),
            "the key in line 2 is not 32 bytes in base64",
        ),
        (
            format!("{} {}", &key[..20], &key[20..]),
            "line 1 begins with none of current, next, retiring, old",
        ),
        (
            "\u{0}".repeat(33),
            "the key in line 1 is not 32 bytes in base64",
        ),
    ] {
        write(&file, content.as_bytes(), 0o600);
        let refused = file.read().unwrap_err().to_string();
        assert!(refused.ends_with(fault), "{refused}");
        assert!(!refused.contains(&key[..20]) && !refused.contains(&short[..20]));
    }
    write(&file, &[0xff; 40], 0o600);
    assert!(matches!(file.read(), Err(VaultError::KeyFile { .. })));
    write(&file, &vec![b'#'; 70_000], 0o600);
    assert!(matches!(file.read(), Err(VaultError::KeyFile { .. })));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_folder, file) = place();
    for mode in [0o640, 0o604, 0o644, 0o620] {
        write(&file, &[7; 32], mode);
        let refused = file.read().unwrap_err();
        assert!(matches!(refused, VaultError::Exposed { mode: seen, .. } if seen == mode));
    }
}
