//! Files that go to a child with its job.
//!
//! A job names its files by their place in a list, and their descriptors travel over the socket to
//! the child (`protocol.rs`). So a file has no path, no other child inherits it, and the parent has
//! closed its own copy as soon as the job is on its way. Any number of threads may start children
//! at once.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// The most files that a job may have.
pub(super) const MOST_FILES: usize = 8;

/// A file of a job, by its place in the list of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNumber(usize);

impl FileNumber {
    /// A file that no child receives: for a job that only asks whether it is understood.
    pub(super) const NONE: FileNumber = FileNumber(MOST_FILES);
}

/// The files of a job, on the parent's side.
#[derive(Debug, Default)]
pub struct JobFiles(Vec<OwnedFd>);

impl JobFiles {
    /// Adds a file that the parent needs no longer.
    pub fn give(&mut self, file: impl Into<OwnedFd>) -> FileNumber {
        self.0.push(file.into());
        FileNumber(self.0.len() - 1)
    }

    /// Adds a file that the parent, and other children, go on using. All of them have one offset:
    /// readers use [`SharedReader`].
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn share(&mut self, file: &File) -> io::Result<FileNumber> {
        Ok(self.give(file.try_clone()?))
    }

    /// The descriptors in their order.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

/// The files of a job, on the child's side.
#[derive(Debug, Default)]
pub struct ReceivedFiles(Vec<Option<File>>);

impl ReceivedFiles {
    /// The files in the order of the job's list.
    pub(super) fn new(descriptors: Vec<OwnedFd>) -> ReceivedFiles {
        ReceivedFiles(descriptors.into_iter().map(|file| Some(File::from(file))).collect())
    }

    /// Takes the file of that number.
    ///
    /// # Errors
    /// When it did not come with the job, or was taken before.
    pub fn take(&mut self, number: FileNumber) -> io::Result<File> {
        self.0.get_mut(number.0).and_then(Option::take).ok_or_else(|| {
            let number = number.0;
            io::Error::other(format!("file {number} did not come with the job"))
        })
    }
}

/// Reads a file from its start, whatever other processes do with the offset that they share.
#[derive(Debug)]
pub struct SharedReader {
    file: File,
    offset: u64,
}

impl SharedReader {
    /// A reader at the start of `file`.
    pub fn new(file: File) -> SharedReader {
        SharedReader { file, offset: 0 }
    }
}

impl Read for SharedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.offset)?;
        self.offset += length as u64;
        Ok(length)
    }
}

/// A file in memory that `write` has filled. It has no path, and vanishes with its last descriptor.
///
/// # Errors
/// When there is no memory for it.
pub(super) fn memory_file(
    name: &str,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?);
    let mut writer = BufWriter::with_capacity(1 << 16, &file);
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_one_file_do_not_move_each_other() {
        let file = memory_file("test", |out| out.write_all(b"abcdef")).unwrap();
        let mut files = JobFiles::default();
        let numbers = [files.share(&file).unwrap(), files.share(&file).unwrap()];
        let mut received = ReceivedFiles::new(files.0);
        let mut readers = numbers.map(|number| SharedReader::new(received.take(number).unwrap()));
        let mut bytes = [0; 4];
        readers[0].read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"abcd");
        let mut text = String::new();
        readers[1].read_to_string(&mut text).unwrap();
        readers[0].read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdefef");
        assert!(received.take(numbers[0]).is_err() && received.take(FileNumber::NONE).is_err());
    }
}
