//! The state folder: of an older version, damaged by somebody, on a disk that is full.

mod full_disk;
mod hostile;
mod older;
