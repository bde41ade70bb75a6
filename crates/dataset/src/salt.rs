//! Salted hashes in place of patient identifiers.
//!
//! A plain hash of an identifier is no protection: hospital numbers can be tried one after the other. With a secret
//! salt that is impossible for whoever does not hold the salt, and once the salt is destroyed, for everybody.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};
use files::write_file;
use files::{first_digits, hex};

/// Digits of a patient hash: 64 bits, so that a million patients collide with a chance of one in 37 million.
const PATIENT_DIGITS: usize = 16;

/// A patient's identifier without blanks around it, and, of a whole number, without the point and the zeros that pandas
/// and spreadsheets put behind it: `12.0` and `12` are one patient. Zeros before a number stay, for they may be all that
/// tells two identifiers apart.
pub fn canonical_patient(patient: &str) -> &str {
    let patient = patient.trim();
    let Some((number, zeros)) = patient.split_once('.') else { return patient };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && zeros.bytes().all(|byte| byte == b'0') { number } else { patient }
}

/// The secret that patient hashes are made with. `Debug` does not show it.
#[derive(Clone)]
pub struct PatientSalt {
    secret: Vec<u8>,
}

impl std::fmt::Debug for PatientSalt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PatientSalt").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl PatientSalt {
    /// A salt from given bytes, of which there should be at least 16 that nobody can guess.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { secret: bytes.into() }
    }

    /// A salt of 32 random bytes from the operating system.
    ///
    /// # Errors
    /// [`Error::Setting`] where the operating system has no source of randomness.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| Error::Setting {
            setting: "patient salt",
            value: error.to_string(),
            reason: "the operating system gave no random bytes; give a salt file",
        })?;
        Ok(Self::from_bytes(hex(&bytes).into_bytes()))
    }

    /// The salt in the file `path`: all of its bytes without white space at the ends.
    ///
    /// # Errors
    /// [`Error::File`], and [`Error::Damaged`] for fewer than 16 bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(Error::io("read the salt file", path))?;
        let secret = bytes.trim_ascii().to_vec();
        if secret.len() < 16 {
            let detail = format!("it has {} bytes, fewer than 16", secret.len());
            return Err(Error::damaged("salt file", "put at least 16 random characters into it", path, detail));
        }
        Ok(Self { secret })
    }

    /// The salt in the file `path`, or a new random one that is written there, readable by its owner only.
    ///
    /// # Errors
    /// As [`PatientSalt::open`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => return Self::open(path),
        }
        let salt = Self::random()?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io("make the folder", parent))?;
            restrict(parent, 0o700)?;
        }
        write_file(path, &[&salt.secret[..], b"\n"].concat())?;
        restrict(path, 0o600)?;
        Ok(salt)
    }

    /// What the manifest holds for a patient: 16 hexadecimal digits of a SHA-256 over the salt and the identifier
    /// ([`canonical_patient`]).
    pub fn hash(&self, patient: &str) -> String {
        self.hash_as_written(canonical_patient(patient))
    }

    /// What earlier releases stored for a patient whose number a table wrote as `12.0`; none for who is no number. A
    /// dataset may have the patient under this hash.
    pub fn earlier_hash(&self, patient: &str) -> Option<String> {
        let patient = canonical_patient(patient);
        let is_number = !patient.is_empty() && patient.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| self.hash_as_written(&format!("{patient}.0")))
    }

    fn hash_as_written(&self, patient: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"dino-diffusion patient\0");
        hasher.update((self.secret.len() as u64).to_le_bytes());
        hasher.update(&self.secret);
        hasher.update(patient.as_bytes());
        let mut digits = hex(&hasher.finalize());
        digits.truncate(PATIENT_DIGITS);
        digits
    }

    /// Tells salts apart without revealing them: 12 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        first_digits(Sha256::new_with_prefix(b"dino-diffusion salt\0").chain_update(&self.secret))
    }
}

/// Withdraws a file or folder from other users, where the system knows such a thing.
fn restrict(path: &Path, mode: u32) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io("protect the salt", path))?;
    }
    #[cfg(not(unix))]
    let _ = (path, mode);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_salt_is_kept_and_decides_the_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private/patient-salt");
        let first = PatientSalt::open_or_create(&path).unwrap();
        let again = PatientSalt::open_or_create(&path).unwrap();
        assert_eq!(first.hash("4711"), again.hash("4711"));
        assert_ne!(first.hash("4711"), first.hash("4712"));
        assert_ne!(first.hash("4711"), PatientSalt::random().unwrap().hash("4711"));
        assert_eq!(first.hash("4711").len(), 16);
        assert!(!format!("{first:?}").contains(std::str::from_utf8(&first.secret).unwrap()));
    }

    #[test]
    fn a_whole_number_is_one_patient_however_it_is_written() {
        let salt = PatientSalt::from_bytes(*b"a salt of 16 bytes");
        for written in ["12", "12.0", " 12", "12.00", "12.", "12.0 "] {
            assert_eq!(salt.hash(written), salt.hash("12"), "{written:?}");
        }
        // Everything else stays as it is, and has the hash that it always had.
        for patient in ["012", "12.5", "1.2.0", "p12.0", "-12.0", ".0", ".", "", "12,0", "1.2e1", "12.0a", "Ann"] {
            assert_eq!(canonical_patient(patient), patient);
            assert_eq!(salt.hash(patient), salt.hash_as_written(patient), "{patient}");
        }
        assert_eq!(canonical_patient("0012.0"), "0012");
        assert_eq!(salt.earlier_hash("12"), Some(salt.hash_as_written("12.0")));
        assert_eq!(salt.earlier_hash("p12"), None);
    }

    #[test]
    fn hashes_of_earlier_releases_stay() {
        let salt = PatientSalt::from_bytes(*b"a salt of 16 bytes");
        assert_eq!(
            [salt.hash("4711"), salt.hash("Doe^Jane"), salt.hash("0012")],
            ["1ff2fabbf398ea3a", "9bc7c41cf4e453c5", "a55deb5690d43dc5"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_salt() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private/patient-salt");
        PatientSalt::open_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_short_salt_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("salt");
        fs::write(&path, "  abc\n").unwrap();
        let error = PatientSalt::open(&path).unwrap_err().to_string();
        assert!(error.contains("3 bytes, fewer than 16"), "{error}");
    }
}
