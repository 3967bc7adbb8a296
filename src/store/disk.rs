//! Every change of a durable file, so that the rules stand in one place.
//!
//! What is written is durable once its file was synced; a new, changed or removed name once its
//! folder was. A file is replaced by a whole new one that was synced before it took the name. A sync
//! that failed says nothing about a later one that succeeds: the kernel may have given up what it
//! could not write, so what was to be synced has to be written again.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::store::folder_handle::{FolderHandle, is_aside};

/// Opens a file for reading and writing, and makes an empty one if there is none. It is private then. What is no
/// plain file is an error (`InvalidData`) that names it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    fault::strike()?;
    let file = open_own(path, OFlags::RDWR | OFlags::CREATE)?;
    // One that was there already may come from a backup, with whatever mode that gave it.
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Opens a file for reading.
pub(super) fn read(path: &Path) -> io::Result<File> {
    open_own(path, OFlags::RDONLY)
}

/// Opens a file of ours, also one that a backup has given a mode that keeps us out.
fn open_own(path: &Path, access: OFlags) -> io::Result<File> {
    let (folder, name) = (folder_of(path)?, path.file_name().unwrap_or_default());
    let opened = match folder.file(name, access) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && folder.unlock_file(name).is_ok() => {
            folder.file(name, access)
        }
        opened => opened,
    };
    opened.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => {
            io::Error::new(error.kind(), format!("`{}` is in the way: {error}", path.display()))
        }
        _ => error,
    })
}

/// Opens the folder that a file of ours is in.
pub(super) fn folder_of(path: &Path) -> io::Result<FolderHandle> {
    FolderHandle::open_root(path.parent().unwrap_or(Path::new("")))
}

/// Makes an empty file in the place of what is there: that may be a link, or have another name elsewhere.
pub(super) fn create(path: &Path) -> io::Result<File> {
    clear(path)?;
    folder_of(path)?.create_new(path.file_name().unwrap_or_default())
}

/// Writes all of `bytes` at a place. After an error any part of them may be there.
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = fault::strike() {
        file.write_all_at(&bytes[..bytes.len() / 2], at)?;
        return Err(error);
    }
    file.write_all_at(bytes, at)
}

/// Cuts a file off at `len` bytes.
pub(super) fn cut(file: &File, len: u64) -> io::Result<()> {
    fault::strike()?;
    file.set_len(len)
}

/// Makes what is in a file durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    fault::strike()?;
    file.sync_all()
}

/// Makes what is in a file durable, but for the file's times, which nobody reads.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    fault::strike()?;
    file.sync_data()
}

/// Removes a name; it may be gone already. The folder is the caller's to sync.
pub(super) fn unlink(path: &Path) -> io::Result<()> {
    fault::strike()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a name, whatever has it. What is no file is kept under another name.
pub(super) fn clear(path: &Path) -> io::Result<()> {
    match unlink(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => move_aside(path).map(drop),
        cleared => cleared,
    }
}

/// Makes the names in a folder durable. An empty path is the working directory.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    fault::strike()?;
    FolderHandle::open_root(path)?.sync()
}

/// Makes a file's name durable, or that nothing has that name.
pub(super) fn sync_name(path: &Path) -> io::Result<()> {
    sync_folder(path.parent().unwrap_or(Path::new("")))
}

/// Replaces a file by what `content` reads: whatever happens, either the old or the new one is
/// there, and after `Ok` the new one for good.
pub(super) fn replace(path: &Path, content: impl Read) -> io::Result<File> {
    let file = replace_unsynced(path, content)?;
    sync_name(path)?;
    Ok(file)
}

/// The same, but the new file's name is the caller's to sync.
pub(super) fn replace_unsynced(path: &Path, mut content: impl Read) -> io::Result<File> {
    let temporary = path.with_extension("new");
    let mut file = create(&temporary)?;
    #[cfg(test)]
    if let Err(error) = fault::strike() {
        io::copy(&mut content.take(20), &mut file)?;
        return Err(error);
    }
    io::copy(&mut content, &mut file)?;
    sync(&file)?;
    fault::strike()?;
    fs::rename(&temporary, path)?;
    Ok(file)
}

/// Keeps what lies in the place of a file under another name; returns its path.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let folder = folder_of(path)?;
    let aside = folder.set_aside(path.file_name().unwrap_or_default())?;
    folder.sync()?;
    Ok(path.with_file_name(aside))
}

/// Keeps a damaged file under another name as well, durably, or what is no file itself; returns the path.
/// The file is to be [replaced](replace) then, for what is written to it is written to the copy, too.
pub(super) fn keep_copy(path: &Path) -> io::Result<PathBuf> {
    let mut damaged = match read(path) {
        Err(error) if error.kind() == ErrorKind::InvalidData => return move_aside(path),
        file => file?,
    };
    sync(&damaged)?;
    let folder = folder_of(path)?;
    let name = path.file_name().unwrap_or_default();
    let aside = folder.name_aside(name)?;
    // A second name costs nothing, where a copy fills the holes of a file until the disk is full. Not every
    // file system has such names; those without have no holes, either.
    if fault::strike().and_then(|()| folder.link(name, &aside)).is_err() {
        let mut copy = folder.create_new(&aside)?;
        io::copy(&mut damaged, &mut copy)?;
        sync(&copy)?;
    }
    folder.sync()?;
    Ok(path.with_file_name(aside))
}

/// The copies that were kept of a file when it was damaged.
pub(super) fn copies_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    for name in folder_of(path)?.names()? {
        let name = name?;
        if is_aside(&name, path.file_name().unwrap_or_default()) {
            copies.push(path.with_file_name(name));
        }
    }
    Ok(copies)
}

/// A file read from its beginning, whoever else reads or writes through the same handle.
pub(super) struct Reading<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> Reading<'a> {
    /// The file from a place on.
    pub(super) fn from(file: &'a File, at: u64) -> Self {
        Self { file, at }
    }
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Nothing fails but for the disk's own reasons.
#[cfg(not(test))]
mod fault {
    #[expect(clippy::unnecessary_wraps, reason = "in tests it fails")]
    pub(super) fn strike() -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets the changes that a test names fail.
#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;
    use std::io;
    use std::ops::Range;

    thread_local! {
        /// Which of this thread's coming changes fail.
        static PLAN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
        static COUNT: Cell<usize> = const { Cell::new(0) };
    }

    /// From now on the changes with these numbers fail, counted from 0.
    pub(in crate::store) fn plan(failing: Range<usize>) {
        PLAN.set((failing.start, failing.end));
        COUNT.set(0);
    }

    /// No change fails any more; how many were tried since `plan`.
    pub(in crate::store) fn over() -> usize {
        PLAN.set((0, 0));
        COUNT.get()
    }

    pub(super) fn strike() -> io::Result<()> {
        let (start, end) = PLAN.get();
        let number = COUNT.replace(COUNT.get() + 1);
        if (start..end).contains(&number) {
            return Err(io::Error::other(format!("change {number} was made to fail")));
        }
        Ok(())
    }
}
