//! The token that whoever reads metrics has to say.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use nix::fcntl::OFlag;

/// Its file in a pilot's directory.
pub(crate) const FILE: &str = "metrics.token";
/// Bytes of a token: fewer could be guessed, more is no token.
const LEAST: usize = 16;
const MOST: u64 = 4_096;

/// A token, as its hash: those are compared in constant time.
#[derive(Clone, Debug)]
pub(super) struct Token(blake3::Hash);

impl Token {
    /// That of a file that only its owner can read; made if there is none.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => {
                let text = read.with_context(|| format!("read the token {}", path.display()))?;
                let token = text.trim();
                anyhow::ensure!(
                    token.len() >= LEAST && token.bytes().all(|byte| byte.is_ascii_graphic()),
                    "{} has no token: {LEAST} or more letters, digits and signs in one line; remove it, and another is made",
                    path.display()
                );
                return Ok(Self(blake3::hash(token.as_bytes())));
            }
        }
        let mut random = [0; 32];
        getrandom::fill(&mut random)
            .map_err(|error| anyhow::anyhow!("the system gives nothing random: {error}"))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        file.and_then(|mut file| file.write_all(format!("{token}\n").as_bytes()))
            .with_context(|| format!("write the token {}", path.display()))?;
        Ok(Self(blake3::hash(token.as_bytes())))
    }

    /// Whether a request says it: `Bearer TOKEN`.
    pub(super) fn is_said(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|said| said.split_at_checked(7)) else {
            return false;
        };
        // The comparison of hashes takes the same time wherever they differ.
        scheme.eq_ignore_ascii_case(b"bearer ") && blake3::hash(token.trim_ascii()) == self.0
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.mode() & 0o077 != 0 || facts.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other(
            "it is to be a file that only you can read: chmod 600",
        ));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// Takes a file away that says what is no more. Best effort.
pub(super) fn forget(path: &Path) {
    let _gone = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_token_is_made_once_and_said_exactly() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        let token = Token::of(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.trim();
        let again = Token::of(&path).unwrap();
        for said in [format!("Bearer {text}"), format!("bearer {text}")] {
            assert!(token.is_said(Some(said.as_bytes())) && again.is_said(Some(said.as_bytes())));
        }
        let short = &text[1..];
        for said in [
            "",
            "Bearer",
            "Bearer ",
            text,
            &format!("Bearer {short}"),
            &format!("Basic {text}"),
        ] {
            assert!(!token.is_said(Some(said.as_bytes())), "{said}");
        }
        assert!(!token.is_said(None));
    }

    #[test]
    fn a_file_that_others_may_read_is_no_token() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(FILE);
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(format!("{:#}", Token::of(&path).unwrap_err()).contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Token::of(&path).is_ok());
        fs::write(&path, "short\n").unwrap();
        assert!(Token::of(&path).unwrap_err().to_string().contains("has no token"));
        let link = home.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(Token::of(&link).is_err());
    }
}
