//! What a connection is known by within the process.

use std::fmt;

use scalems_protocol::Role;

/// What the authentication calls a connection: its role and a number that no other in the process has, as
/// `client/17`.
pub(super) struct UserId {
    pub(super) user: &'static str,
    pub(super) number: u64,
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.user, self.number)
    }
}

/// The role in a user id.
pub(crate) fn role_of(user_id: &[u8]) -> Option<Role> {
    let (role, number) = str::from_utf8(user_id).ok()?.split_once('/')?;
    let role = Role::from_name(role)?;
    number.parse::<u64>().ok().map(|_| role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_read_as_they_are_written() {
        for role in Role::ALL {
            let written = UserId {
                user: role.name(),
                number: u64::MAX,
            };
            assert_eq!(role_of(written.to_string().as_bytes()), Some(role));
        }
        for other in [
            "",
            "client",
            "client/",
            "client/-1",
            "/1",
            "self-test/1",
            "client/1/1",
        ] {
            assert_eq!(role_of(other.as_bytes()), None, "{other}");
        }
    }
}
