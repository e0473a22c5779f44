//! Symbolic links below the roots: looked at without being followed, switched by one rename, and leading to nothing outside of a root.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, RenameFlags, readlinkat, renameat, renameat_with, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::{Place, PlaceError, Roots, system};

/// What stands where a link is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Absent,
    To(PathBuf),
}

impl Roots {
    /// Whether what a link at `link` to `target` leads to lies below a root, by plain folders, and is there. A relative target counts
    /// from the folder of the link, as it does for the system.
    pub(crate) fn leads_inside(&self, link: &Path, target: &Path) -> Result<(), PlaceError> {
        let mut whole = link.parent().unwrap_or(link).to_owned();
        for component in target.components() {
            match component {
                Component::Normal(name) => whole.push(name),
                Component::ParentDir => {
                    whole.pop();
                }
                Component::RootDir => whole = PathBuf::from("/"),
                Component::CurDir | Component::Prefix(_) => {}
            }
        }
        let place = self.place(&whole)?;
        match statat(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) if FileType::from_raw_mode(about.st_mode).is_symlink() => {
                Err(PlaceError::Crooked(whole))
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => Err(PlaceError::Missing(whole)),
            Err(errno) => Err(system("the target cannot be looked at")(errno)),
        }
    }
}

impl Place {
    /// Where the link here leads.
    pub(crate) fn look_link(&self) -> Result<Link, PlaceError> {
        match readlinkat(&self.folder, &self.name, Vec::new()) {
            Ok(target) => Ok(Link::To(OsString::from_vec(target.into_bytes()).into())),
            Err(Errno::NOENT) => Ok(Link::Absent),
            Err(Errno::INVAL) => Err(PlaceError::NoLink(self.path.clone())),
            Err(errno) => Err(system("the link cannot be read")(errno)),
        }
    }

    /// Puts a link to `target` here, durably, in one step for whoever looks. `fresh`: nothing may stand here.
    pub(crate) fn put_link(
        &self,
        target: &Path,
        fresh: bool,
        mark: &str,
    ) -> Result<(), PlaceError> {
        let beside = self.beside(mark)?;
        symlinkat(target, &self.folder, &beside).map_err(system("the link cannot be created"))?;
        let switched = if fresh {
            let only = RenameFlags::NOREPLACE;
            renameat_with(&self.folder, &beside, &self.folder, &self.name, only)
        } else {
            renameat(&self.folder, &beside, &self.folder, &self.name)
        };
        if let Err(errno) = switched {
            // The first trouble is what counts.
            let _ = unlinkat(&self.folder, &beside, AtFlags::empty());
            return Err(match errno {
                Errno::EXIST => PlaceError::Occupied(self.path.clone()),
                errno => system("the link cannot be renamed into place")(errno),
            });
        }
        self.sync()
    }
}
