//! What a connection is known by within the process.

use std::fmt;

use scalems_protocol::Role;

/// The number that the authentication gave a connection; no two in a process share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection(pub(super) u64);

/// The user id of a connection: role and number, as `client/17`.
pub(super) struct UserId {
    pub(super) user: &'static str,
    pub(super) connection: Connection,
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.user, self.connection.0)
    }
}

impl Connection {
    /// Role and number of a user id.
    pub(crate) fn from_user_id(user: &[u8]) -> Option<(Role, Self)> {
        let slash = user.iter().position(|&byte| byte == b'/')?;
        let role = Role::from_name(str::from_utf8(&user[..slash]).ok()?)?;
        let number = str::from_utf8(&user[slash + 1..]).ok()?.parse().ok()?;
        Some((role, Self(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_read_as_they_are_written() {
        for role in Role::ALL {
            let (user, connection) = (role.name(), Connection(u64::MAX));
            let written = UserId { user, connection }.to_string();
            assert_eq!(
                Connection::from_user_id(written.as_bytes()),
                Some((role, connection))
            );
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
            assert_eq!(Connection::from_user_id(other.as_bytes()), None, "{other}");
        }
    }
}
