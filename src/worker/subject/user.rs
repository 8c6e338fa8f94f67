//! The user that a server runs as, from passwd(5).

use super::SubjectError;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: String,
}

impl User {
    /// By name or number.
    pub(super) fn find(name: &str) -> Result<Self, SubjectError> {
        let passwd = std::fs::read_to_string("/etc/passwd")
            .map_err(|error| SubjectError::new(format!("cannot read /etc/passwd: {error}")))?;
        Self::in_passwd(&passwd, name).ok_or_else(|| {
            SubjectError::new(format!("there is no user {name} in /etc/passwd"))
                .with_hint("server.user takes a name of /etc/passwd, or a number")
        })
    }

    /// `name:password:uid:gid:comment:home:shell`. A number that is not there is a user without a name.
    fn in_passwd(passwd: &str, wanted: &str) -> Option<Self> {
        let number: Option<u32> = wanted.parse().ok();
        passwd
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid: u32 = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                let home = fields.nth(1)?.to_owned();
                (name == wanted || number == Some(uid)).then_some(Self { uid, gid, home })
            })
            .or_else(|| {
                number.map(|uid| Self {
                    uid,
                    gid: uid,
                    home: "/".to_owned(),
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nwww-data:x:33:34:www:/var/www:/x\n";
        let www = User {
            uid: 33,
            gid: 34,
            home: "/var/www".to_owned(),
        };
        assert_eq!(User::in_passwd(passwd, "www-data"), Some(www.clone()));
        assert_eq!(User::in_passwd(passwd, "33"), Some(www));
        assert_eq!(User::in_passwd(passwd, "nobody"), None);
        let unnamed = User::in_passwd(passwd, "4711").expect("a number");
        assert_eq!((unnamed.uid, unnamed.gid), (4711, 4711));
    }
}
