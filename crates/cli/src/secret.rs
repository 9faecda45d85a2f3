//! Secrets from files and environment variables: never from the command line, which every user of a host can read.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::{Failure, warn};

/// The most bytes of a secret.
const MAX_BYTES: usize = 16 * 1024;

/// Where a secret is: `env:NAME`, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; of its lines the first that is neither empty nor a `#` comment counts.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret; it is overwritten when dropped. A file that others may read gets a warning.
    ///
    /// # Errors
    /// Where it is not there, is no text, or has nothing in it.
    pub fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let failed = |why: &dyn fmt::Display| Failure::failed(format_args!("cannot read the secret in {self}: {why}"));
        let text = match self {
            Self::Env(name) => Zeroizing::new(std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => failed(&"it is not set"),
                std::env::VarError::NotUnicode(_) => failed(&"it is no text"),
            })?),
            Self::File(path) => {
                let file = File::open(path).map_err(|error| failed(&error))?;
                let mode = file.metadata().map_or(0, |data| if data.is_file() { data.permissions().mode() } else { 0 });
                if mode & 0o077 != 0 {
                    warn(format_args!("{self} holds a secret and others may read it: chmod 600 {}", path.display()));
                }
                // Room for all of it at once: a buffer that grows leaves copies behind.
                let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
                file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
                text
            }
        };
        if text.len() > MAX_BYTES {
            return Err(failed(&format_args!("more than {MAX_BYTES} bytes")));
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        line.map(|line| Zeroizing::new(line.to_owned())).ok_or_else(|| failed(&"there is nothing in it"))
    }
}

impl FromStr for SecretSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("env:") {
            Some("") => Err("env: names no variable".to_owned()),
            Some(name) => Ok(Self::Env(name.to_owned())),
            None if text.is_empty() => Err("a FILE, or env:NAME".to_owned()),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_says_something_is_the_secret() {
        let path = std::env::temp_dir().join(format!("vox-secret-{}", std::process::id()));
        std::fs::write(&path, "# made by hand\n\n  abc=  \nmore\n").unwrap();
        let source: SecretSource = path.display().to_string().parse().unwrap();
        assert_eq!(source.read().unwrap().as_str(), "abc=");
        std::fs::write(&path, "#\n").unwrap();
        assert!(source.read().is_err());
        std::fs::write(&path, vec![b'a'; MAX_BYTES + 1]).unwrap();
        assert!(source.read().is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(source.read().is_err());
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_and_not_looked_for_elsewhere() {
        assert_eq!("env:VOX_NO_SUCH".parse(), Ok(SecretSource::Env("VOX_NO_SUCH".to_owned())));
        assert!("env:".parse::<SecretSource>().is_err() && "".parse::<SecretSource>().is_err());
        assert!(SecretSource::Env("VOX_NO_SUCH".to_owned()).read().is_err());
    }
}
