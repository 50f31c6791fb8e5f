//! What a connection is known by within the process.

use std::fmt;

use scalems_protocol::Role;

/// What the authentication calls a connection: its role and a number that no other in the process has, as
/// `client/17`; `client@17` if it came by a socket file.
pub(super) struct UserId {
    pub(super) user: &'static str,
    pub(super) by_file: bool,
    pub(super) number: u64,
}

impl fmt::Display for UserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let door = if self.by_file { '@' } else { '/' };
        write!(out, "{}{door}{}", self.user, self.number)
    }
}

/// As what a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) role: Role,
    /// By a socket file: it is on this host, and this user's.
    pub(crate) by_file: bool,
}

/// What a user id says.
pub(crate) fn admitted(user_id: &[u8]) -> Option<Admitted> {
    let user_id = str::from_utf8(user_id).ok()?;
    let (role, number) = user_id.split_once(['/', '@'])?;
    let role = Role::from_name(role)?;
    let by_file = user_id.contains('@');
    number.parse::<u64>().ok().map(|_| Admitted { role, by_file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_read_as_they_are_written() {
        for role in Role::ALL {
            for by_file in [false, true] {
                let written = UserId {
                    user: role.name(),
                    by_file,
                    number: u64::MAX,
                };
                let read = admitted(written.to_string().as_bytes());
                assert_eq!(read, Some(Admitted { role, by_file }));
            }
        }
        for other in [
            "",
            "client",
            "client/",
            "client/-1",
            "/1",
            "self-test/1",
            "client/1/1",
            "client@1/1",
            "client/1@1",
        ] {
            assert_eq!(admitted(other.as_bytes()), None, "{other}");
        }
    }
}
