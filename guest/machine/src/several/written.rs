//! Grants of several keys, written out as one word.

use alloc::string::String;
use alloc::vec::Vec;

use super::state::MAX_KEYS;
use crate::error::GrantError;
use crate::records::{Nonce, PortableGrant};
use crate::session::{Grant, Session, Validity};
use crate::values::{Invalid, Time};

/// What stands between the grants of a word. It stands in none of them.
const BETWEEN: char = '+';

impl Session {
    /// Writes several grants out for [`resume_all`](Self::resume_all), as one word.
    pub fn write_out_all(&mut self, grants: &[Grant], now: Time) -> Result<String, GrantError> {
        if self.validity_of_all(grants, now) == Validity::Lost {
            return Err(GrantError::Lost(None));
        }
        let mut word = String::new();
        for grant in grants {
            if !word.is_empty() {
                word.push(BETWEEN);
            }
            word.push_str(&self.write_out(grant, now)?);
        }
        Ok(word)
    }

    /// Resumes all grants of a word, or none. Each gets another nonce of 128 bits from a secure generator.
    pub fn resume_all(
        &mut self,
        word: &str,
        mut nonce: impl FnMut() -> Nonce,
        now: Time,
    ) -> Result<Vec<Grant>, Invalid> {
        let written: Vec<&str> = word.trim().splitn(MAX_KEYS + 1, BETWEEN).collect();
        written.iter().try_for_each(|one| PortableGrant::decode(one).map(drop))?;
        let mut grants = Vec::new();
        for one in written {
            match self.resume(one, nonce(), now) {
                Ok(grant) => grants.push(grant),
                Err(invalid) => {
                    grants.iter().for_each(|grant| self.forsake(grant));
                    return Err(invalid);
                }
            }
        }
        Ok(grants)
    }
}
