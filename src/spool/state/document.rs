//! The state as an object: JSON that people can read.

use bytes::Bytes;
use serde::Deserialize;

use super::bounds::check_memory;
use super::{SpoolState, StateError, VERSION};

impl SpoolState {
    /// Reads the object.
    ///
    /// # Errors
    /// The bytes are not a state that this program can read. A person must look; the text says
    /// how.
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |error: serde_json::Error| StateError::Malformed(error.to_string());
        // The version comes first: a newer object may have anything else in it.
        let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        match version {
            // What version 2 has added is absent in version 1, and the release writes our version.
            1..=VERSION => {
                check_memory(bytes)?;
                Self {
                    version: VERSION,
                    ..serde_json::from_slice(bytes).map_err(malformed)?
                }
                .within_bounds()
            }
            0 => Err(StateError::Malformed("there is no version 0".to_owned())),
            newer => Err(StateError::Newer(newer)),
        }
    }

    /// The bytes of the object.
    ///
    /// # Errors
    /// [`StateError::Malformed`]; not known to happen.
    pub fn write(&self) -> Result<Bytes, StateError> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| StateError::Malformed(error.to_string()))?;
        bytes.push(b'\n');
        Ok(Bytes::from(bytes))
    }
}
