//! A folder held by its descriptor: what is planted below it leads nowhere else.
//!
//! Each step goes one name further and follows no link. So there is nothing to resolve, and nobody who
//! moves things about meanwhile changes where a step ends. What the folder is for is not known here.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::clock::wall_ms;
use crate::limits::ASIDE_NAMES_MAX;
use crate::plain_file;

/// What the name of a copy of a damaged file has behind the file's own.
pub(super) const DAMAGED: &str = ".damaged-";

/// An open folder.
#[derive(Debug)]
pub(crate) struct FolderHandle(OwnedFd);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

impl FolderHandle {
    /// Opens a folder of the gateway's. The last name of its path may be no link; what is above is trusted.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, FOLDER | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens a folder of the gateway's, made private if it is not there.
    pub(crate) fn make(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open(path),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens the state folder itself, which a person may have put behind a link. An empty path is the working
    /// directory.
    pub(crate) fn open_root(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Self(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?))
    }

    /// Opens the folder that this one is in.
    pub(super) fn parent(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, "..", FOLDER, Mode::empty())?))
    }

    /// Opens this folder once more, to read its names from the beginning.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, ".", FOLDER, Mode::empty())?))
    }

    /// What the system says of this folder itself.
    pub(super) fn about(&self) -> io::Result<Stat> {
        Ok(rustix::fs::fstat(&self.0)?)
    }

    /// The folder's descriptor, for reading its names.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a folder in this one, as it is.
    pub(crate) fn folder(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, checked(name)?, FOLDER | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Opens a folder in this one and makes it private, also one that its owner was locked out of.
    pub(crate) fn own_folder(&self, name: &OsStr) -> io::Result<Self> {
        let folder = match self.folder(name) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.set_mode(name, FileType::Directory, Mode::RWXU)?;
                self.folder(name)?
            }
            folder => folder?,
        };
        if Mode::from_raw_mode(rustix::fs::fstat(&folder.0)?.st_mode) & ALL != Mode::RWXU {
            rustix::fs::fchmod(&folder.0, Mode::RWXU)?;
        }
        Ok(folder)
    }

    /// Opens a folder in this one and makes it private; made if it is not there. What else lies in its place is
    /// set aside.
    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<Self> {
        match self.find(name)? {
            None => {}
            Some(FileType::Directory) => return self.own_folder(name),
            Some(_) => {
                let aside = self.set_aside(name)?;
                log::error!("something that is no folder lay in the place of {name:?}: it is {aside:?} now");
            }
        }
        rustix::fs::mkdirat(&self.0, checked(name)?, Mode::RWXU)?;
        self.own_folder(name)
    }

    /// What the system says of a name in this folder; a link is not followed.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0, checked(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What lies under a name in this folder, if anything does; a link is not followed.
    pub(super) fn find(&self, name: &OsStr) -> io::Result<Option<FileType>> {
        match self.look(name) {
            Ok(about) => Ok(Some(FileType::from_raw_mode(about.st_mode))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a plain file in this folder for reading.
    pub(crate) fn read(&self, name: &OsStr) -> io::Result<File> {
        self.file(name, OFlags::RDONLY)
    }

    /// Opens a plain file in this folder. Where `access` lets it be made, it is private.
    pub(super) fn file(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        match rustix::fs::openat(&self.0, checked(name)?, access | FILE, Mode::RUSR | Mode::WUSR) {
            Ok(file) => plain_file::check(file.into()),
            Err(errno) => Err(plain_file::named(self.look(name), errno.into())),
        }
    }

    /// Makes a private file that was not there.
    pub(crate) fn create_new(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FILE;
        Ok(rustix::fs::openat(&self.0, checked(name)?, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Gives what lies under a name another one, in the same folder or in another.
    pub(crate) fn rename(&self, from: &OsStr, folder: &Self, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, checked(from)?, &folder.0, checked(to)?)?)
    }

    /// Keeps what lies under a name beside it, whatever it is; returns the name that it has then.
    pub(crate) fn set_aside(&self, name: &OsStr) -> io::Result<OsString> {
        let aside = self.name_aside(name)?;
        self.rename(name, self, &aside)?;
        Ok(aside)
    }

    /// Gives a file in this folder a second name there.
    pub(super) fn link(&self, name: &OsStr, second: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&self.0, checked(name)?, &self.0, checked(second)?, AtFlags::empty())?)
    }

    /// A name that is free for what is set aside.
    pub(super) fn name_aside(&self, name: &OsStr) -> io::Result<OsString> {
        let now = wall_ms();
        for number in now..now.saturating_add(ASIDE_NAMES_MAX) {
            let mut aside = name.to_owned();
            aside.push(format!("{DAMAGED}{number}"));
            if self.find(&aside)?.is_none() {
                return Ok(aside);
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "every name for it is taken"))
    }

    /// Removes a name that is no folder's.
    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, checked(name)?, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, checked(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Makes the names in this folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// The names in this folder, in no order; entries that come and go meanwhile may or may not be among them.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        let entries = Dir::read_from(&self.0)?;
        let name = |entry: rustix::fs::DirEntry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        Ok(entries
            .map(move |entry| Ok(name(entry?)))
            .filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")))
    }

    /// Lets the owner read and write a plain file in this folder.
    pub(super) fn unlock_file(&self, name: &OsStr) -> io::Result<()> {
        self.set_mode(name, FileType::RegularFile, Mode::RUSR | Mode::WUSR)
    }

    #[cfg(target_os = "linux")]
    fn set_mode(&self, name: &OsStr, kind: FileType, mode: Mode) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let held = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(&self.0, checked(name)?, held, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode) != kind {
            return Err(Errno::ACCESS.into());
        }
        // Neither `fchmod` nor `fchmodat` takes what may not be opened and may not be a link.
        Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", held.as_raw_fd()), mode)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn set_mode(&self, name: &OsStr, kind: FileType, mode: Mode) -> io::Result<()> {
        if FileType::from_raw_mode(self.look(name)?.st_mode) != kind {
            return Err(Errno::ACCESS.into());
        }
        Ok(rustix::fs::chmodat(&self.0, checked(name)?, mode, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

const ALL: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// Whether something of that name was set aside from the place of a file or folder, or is a copy of it.
pub(super) fn is_aside(name: &OsStr, from: &OsStr) -> bool {
    name.as_bytes().strip_prefix(from.as_bytes()).is_some_and(|rest| rest.starts_with(DAMAGED.as_bytes()))
}

/// A name that is one, and no path.
fn checked(name: &OsStr) -> io::Result<CString> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    Ok(CString::new(bytes)?)
}

/// Where tests make their folders: in memory, where the system has a place for that, so that they do not wait
/// for a disk. What a sync does is not what they are about.
#[cfg(test)]
pub(super) fn memory_folder() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    let free_bytes = rustix::fs::statvfs(memory).map_or(0, |about| about.f_bavail * about.f_frsize);
    // Containers are often given 64 MB there.
    if free_bytes > 256 << 20 { memory.to_owned() } else { std::env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use rustix::fs::OFlags;

    use super::{FolderHandle, memory_folder};

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let path = memory_folder().join(format!("clawdis-handle-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("ours")).unwrap();
            Self(path)
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn no_link_and_no_path_leads_out_of_it() {
        let temp = Temp::new("out");
        fs::create_dir(temp.0.join("theirs")).unwrap();
        fs::write(temp.0.join("theirs/secret"), "swordfish").unwrap();
        symlink(temp.0.join("theirs"), temp.0.join("ours/folder")).unwrap();
        symlink(temp.0.join("theirs/secret"), temp.0.join("ours/file")).unwrap();
        let ours = FolderHandle::open(&temp.0.join("ours")).unwrap();
        for name in ["file", "folder", "../theirs/secret", "..", ".", "", "a\0b"] {
            assert!(
                ours.read(name.as_ref()).is_err() && ours.file(name.as_ref(), OFlags::RDWR).is_err(),
                "{name:?}"
            );
            assert!(ours.folder(name.as_ref()).is_err(), "{name:?}");
            assert!(ours.create_new(name.as_ref()).is_err(), "{name:?}");
        }
        assert_eq!(ours.read("file".as_ref()).unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(FolderHandle::open(&temp.0.join("ours/folder")).is_err());
        // A folder is made in the place of the link, which is kept as it is.
        ours.make_folder("folder".as_ref()).unwrap().create_new("new".as_ref()).unwrap();
        assert!(!temp.0.join("theirs/new").exists() && temp.0.join("ours/folder/new").exists());
        let names: Vec<_> = ours.names().unwrap().map(Result::unwrap).collect();
        let aside = names.iter().find(|name| name.to_string_lossy().starts_with("folder.damaged-")).unwrap();
        assert_eq!(fs::read_link(temp.0.join("ours").join(aside)).unwrap(), temp.0.join("theirs"));
        assert_eq!(names.len(), 3, "{names:?}");
    }

    #[test]
    fn folders_are_made_for_us_alone() {
        let temp = Temp::new("modes");
        let ours = FolderHandle::open(&temp.0.join("ours")).unwrap();
        for mode in [0o755, 0o500, 0] {
            let path = temp.0.join("ours/a");
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            ours.make_folder("a".as_ref()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let file = ours.create_new("b".as_ref()).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
