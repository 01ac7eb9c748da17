//! One local store for two users: root made it, and nobody is to use it.

use std::os::unix::fs::{PermissionsExt, chown};

use kvlock_tests::kvlock::{Output, Running};

use super::World;
use super::other_user::NOBODY;

/// A store made by root under this mask of new files, then given to a group with this mode.
fn made_by_root(mask: &str, mode: u32, group: Option<u32>) -> World {
    let world = World::with_own_binary();
    let script = format!("umask {mask}; exec \"$KVLOCK\" run k -- true");
    assert_eq!(Running::start(world.command_of("sh".as_ref(), ["-c", &script])).wait().code, 0);
    world.give("locks.db", mode, group);
    world
}

impl World {
    fn give(&self, name: &str, mode: u32, group: Option<u32>) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        chown(self.path(name), None, group).unwrap();
    }

    /// Runs it as nobody, who is refused for this reason with one line. Soft work does not run either.
    #[track_caller]
    fn assert_refused(&self, part: &str) {
        for arguments in
            [&["run", "k", "--", "echo", "ran"][..], &["run", "--soft", "k", "--", "echo", "ran"], &["doctor"]]
        {
            self.nobodys(arguments).assert_refused(69, &[part]);
        }
    }

    fn nobodys(&self, arguments: &[&str]) -> Output {
        Running::start(self.as_nobody(&[&["./kvlock"], arguments].concat())).wait()
    }
}

#[test]
fn a_file_that_both_may_write_is_shared_once_its_owner_has_opened_it() {
    for (mask, mode, group) in [("022", 0o666, None), ("077", 0o666, None), ("022", 0o660, Some(NOBODY))] {
        let world = made_by_root(mask, mode, group);
        world.assert_refused("locks.db-journal` cannot be opened for writing (Permission denied");
        world.ok(["status", "k"]);
        // Neither may nobody write in the folder.
        let output = world.nobodys(&["run", "k", "--", "sh", "-c", "echo > /dev/null"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
        world.ok(["run", "k", "--", "true"]);
    }
}

#[test]
fn a_file_or_a_folder_that_may_not_be_written_is_refused_by_its_name() {
    let world = made_by_root("022", 0o644, None);
    world.assert_refused("locks.db` cannot be opened for reading and writing (Permission denied");
    world.give("locks.db", 0o666, None);
    std::fs::remove_file(world.path("locks.db-journal")).unwrap();
    world.assert_refused("locks.db-journal` cannot be opened for writing (Permission denied");
}
