//! The messages between a child and its parent, on a socket that nothing else uses.
//!
//! The socket is the child's standard input when the child starts, and a descriptor of its own
//! afterwards. So a library that prints, or that reads from standard input, disturbs nobody.
//!
//! ```text
//! frame  = kind, one byte [length, u32 little-endian; body, JSON]
//! kinds  J   parent → child   Job, with its files beside it (SCM_RIGHTS)
//!        T   parent → child   take a time slice; no body
//!        R   child → parent   ready for a time slice; no body
//!        A   child → parent   Result<Answer, Failure>
//! ```
//!
//! A time slice costs each side one byte to write and one to read. The end of the parent's frames
//! means that no further time slice comes.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::files::{JobFiles, MOST_FILES, ReceivedFiles};
use super::free_figures::FreeFigures;
use super::job::{Job, Verified};
use crate::replay::{FinalState, IterationTimes};

/// What the parent sends to a child.
#[derive(Clone, Copy, Debug)]
pub enum ToChild<'a> {
    /// The job, with its files. The first message, and the only one of its kind.
    Job(&'a Job, &'a JobFiles),
    /// Take a time slice.
    TimeSlice,
}

/// What a child sends to its parent.
#[derive(Debug)]
pub enum FromChild {
    /// The child waits for a time slice.
    Ready,
    /// The child is done. Its last message.
    Done(Result<Answer, Failure>),
}

/// The answer to a job: the variant named like the job's task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The backend's version.
    Version(String),
    /// What proving the backend found.
    Verified(Verified),
    /// What the replay ended with; the addresses are in the job's file.
    AddressTrace(FinalState),
    /// The times of the segments.
    Iterations(IterationTimes),
    /// The times of the calls are in the job's file.
    CallTimes,
    /// The mean time of the chosen calls, in ns.
    Tail(f64),
    /// How many calls were made.
    Calls(usize),
    /// What a replay in free order found.
    FreeOrder(FreeFigures),
    /// The tables are in the job's folder.
    Measured,
}

const JOB: u8 = b'J';
const TIME_SLICE: u8 = b'T';
const READY: u8 = b'R';
const DONE: u8 = b'A';

/// Bytes before a frame's body: its kind and its length.
const HEAD_BYTES: usize = 5;

/// No body is as large as this; a length beyond it is no length.
const MOST_BYTES: usize = 1 << 30;

/// A frame with a body.
fn frame(kind: u8, body: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![kind, 0, 0, 0, 0];
    serde_json::to_writer(&mut bytes, body)?;
    let length = u32::try_from(bytes.len() - HEAD_BYTES).map_err(io::Error::other)?;
    bytes[1..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The length of the body that `head` announces.
fn body_bytes(head: &[u8]) -> Option<usize> {
    let length = head.get(1..HEAD_BYTES)?.try_into().ok().map(u32::from_le_bytes)?;
    usize::try_from(length).ok().filter(|length| *length <= MOST_BYTES)
}

/// The parent's end of a child's socket.
#[derive(Debug)]
pub struct ParentEnd {
    socket: UnixStream,
    /// What came and was not taken yet.
    received: Vec<u8>,
}

/// What [`ParentEnd::receive`] found.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(FromChild),
    /// Bytes that are no whole message yet.
    Part,
    /// The child has closed its end.
    End,
    /// Something that is no message, and why.
    Malformed(String),
}

impl ParentEnd {
    /// A socket for a child: the parent's end, and the child's.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn pair() -> io::Result<(ParentEnd, OwnedFd)> {
        let (socket, child) = UnixStream::pair()?;
        Ok((ParentEnd { socket, received: Vec::new() }, child.into()))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the child is gone, or the job has too many files.
    pub fn send(&self, message: ToChild<'_>) -> io::Result<()> {
        match message {
            ToChild::TimeSlice => (&self.socket).write_all(&[TIME_SLICE]),
            ToChild::Job(job, files) => self.send_job(job, files),
        }
    }

    fn send_job(&self, job: &Job, files: &JobFiles) -> io::Result<()> {
        let bytes = frame(JOB, job)?;
        let descriptors = files.descriptors();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many files for one job"));
        }
        // The files go with the first byte. What does not fit the socket follows.
        let flags = SendFlags::NOSIGNAL;
        let sent = sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut beside, flags)?;
        (&self.socket).write_all(&bytes[sent..])
    }

    /// Says that no further time slice comes.
    pub fn close(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// The next message that has come already.
    pub fn next(&mut self) -> Received {
        match self.received.first().copied() {
            None => Received::Part,
            Some(READY) => {
                self.received.remove(0);
                Received::Message(FromChild::Ready)
            }
            Some(DONE) => self.done(),
            Some(other) => Received::Malformed(format!("a message of the kind {other:#04x}")),
        }
    }

    fn done(&mut self) -> Received {
        if self.received.len() < HEAD_BYTES {
            return Received::Part;
        }
        let Some(length) = body_bytes(&self.received) else {
            return Received::Malformed("a message that is too long".to_owned());
        };
        let Some(body) = self.received.get(HEAD_BYTES..HEAD_BYTES + length) else {
            return Received::Part;
        };
        match serde_json::from_slice(body) {
            Ok(result) => {
                self.received.drain(..HEAD_BYTES + length);
                Received::Message(FromChild::Done(result))
            }
            Err(error) => Received::Malformed(error.to_string()),
        }
    }

    /// Reads what has come, once; waits where nothing has.
    pub fn receive(&mut self) -> Received {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer) {
            Ok(length) if length > 0 => {
                self.received.extend(&buffer[..length]);
                self.next()
            }
            _ => Received::End,
        }
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The child's end of its socket.
#[derive(Debug)]
pub struct ChildEnd(UnixStream);

impl ChildEnd {
    /// The socket that the parent left as standard input, which reads as empty from here on.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn from_stdin() -> io::Result<ChildEnd> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let nothing = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(nothing)?;
        Ok(ChildEnd(socket.into()))
    }

    /// Receives the job and its files.
    ///
    /// # Errors
    /// What is no job of this version of heaplay.
    pub fn receive_job(&self) -> Result<(Job, ReceivedFiles), Failure> {
        let not_a_job = |error: io::Error| Failure::NotAJob(error.to_string());
        let mut head = [0; HEAD_BYTES];
        let descriptors = self.receive_files(&mut head).map_err(not_a_job)?;
        let length = body_bytes(&head).filter(|_| head[0] == JOB);
        let length = length.ok_or_else(|| Failure::NotAJob("it begins otherwise".to_owned()))?;
        let mut body = vec![0; length];
        (&self.0).read_exact(&mut body).map_err(not_a_job)?;
        let job = serde_json::from_slice(&body).map_err(|error| not_a_job(error.into()))?;
        Ok((job, ReceivedFiles::new(descriptors)))
    }

    /// Fills `head`, and returns the descriptors that came with its first byte.
    fn receive_files(&self, head: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let came = recvmsg(&self.0, &mut [IoSliceMut::new(head)], &mut beside, flags)?;
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                descriptors.extend(files);
            }
        }
        (&self.0).read_exact(&mut head[came.bytes..])?;
        Ok(descriptors)
    }

    /// Waits for a time slice. `false` when no further one comes.
    pub fn receive_time_slice(&self) -> bool {
        let mut kind = [0];
        (&self.0).read_exact(&mut kind).is_ok() && kind[0] == TIME_SLICE
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send(&self, message: &FromChild) -> io::Result<()> {
        match message {
            FromChild::Ready => (&self.0).write_all(&[READY]),
            FromChild::Done(result) => (&self.0).write_all(&frame(DONE, result)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;
    use crate::bench::files::memory_file;
    use crate::bench::job::Task;

    fn ends() -> (ParentEnd, ChildEnd) {
        let (parent, child) = ParentEnd::pair().unwrap();
        (parent, ChildEnd(child.into()))
    }

    #[test]
    fn a_job_comes_with_its_files_and_only_they_stay_open() {
        let (parent, child) = ends();
        let file = memory_file("test", |out| out.write_all(b"shared")).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        let mut files = JobFiles::default();
        let (shared, given) = (files.share(&file).unwrap(), files.give(reader));
        let task = Task::Verify { backend: "malloc".into(), program: Some(shared) };
        let job = Job::timed(task, Some(3));
        parent.send(ToChild::Job(&job, &files)).unwrap();
        drop(files);
        let (came, mut received) = child.receive_job().unwrap();
        assert_eq!(came, job);
        let mut text = String::new();
        let mut shared = received.take(shared).unwrap();
        shared.rewind().unwrap();
        shared.read_to_string(&mut text).unwrap();
        assert_eq!(text, "shared");
        // Only the child has the pipe's reader: without it the writer finds nobody.
        writer.write_all(b"x").unwrap();
        drop(received.take(given).unwrap());
        assert_eq!(writer.write_all(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn time_slices_alternate_until_the_parent_closes() {
        let (mut parent, child) = ends();
        for _ in 0..3 {
            child.send(&FromChild::Ready).unwrap();
            assert!(matches!(parent.receive(), Received::Message(FromChild::Ready)));
            parent.send(ToChild::TimeSlice).unwrap();
            assert!(child.receive_time_slice());
        }
        parent.close();
        assert!(!child.receive_time_slice());
        let answer = Answer::Tail(12.5);
        child.send(&FromChild::Done(Ok(answer.clone()))).unwrap();
        match parent.receive() {
            Received::Message(FromChild::Done(Ok(came))) => assert_eq!(came, answer),
            other => panic!("{other:?}"),
        }
        drop(child);
        assert!(matches!(parent.receive(), Received::End));
    }

    #[test]
    fn answers_come_in_pieces_and_failures_keep_their_kind() {
        let (mut parent, child) = ends();
        let failure = Failure::UnknownBackend("no such backend".to_owned());
        let bytes = frame(DONE, &Err::<Answer, Failure>(failure.clone())).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            (&child.0).write_all(&[*byte]).unwrap();
            match parent.receive() {
                Received::Part => assert!(at + 1 < bytes.len()),
                Received::Message(FromChild::Done(Err(came))) => {
                    assert_eq!((at + 1, &came), (bytes.len(), &failure));
                }
                other => panic!("{other:?}"),
            }
        }
        // An answer that is larger than the socket comes whole.
        let times = IterationTimes { processor_ns: vec![7; 200_000], wall_ns: vec![] };
        let answer = Ok(Answer::Iterations(times.clone()));
        let sender = std::thread::spawn(move || child.send(&FromChild::Done(answer)));
        let came = loop {
            match parent.receive() {
                Received::Part => {}
                Received::Message(FromChild::Done(Ok(Answer::Iterations(came)))) => break came,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(came, times);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&b"hello from a library\n"[..], b"A\xff\xff\xff\xff", b"A\x02\0\0\0{}"] {
            let (mut parent, child) = ends();
            (&child.0).write_all(bytes).unwrap();
            assert!(matches!(parent.receive(), Received::Malformed(_)), "{bytes:?}");
        }
        for bytes in [&b"{\"task\":{\"version\":{}}}\n"[..], b"J\x02\0\0\0{}", b"J\x09\0", b""] {
            let (parent, child) = ends();
            (&parent.socket).write_all(bytes).unwrap();
            drop(parent);
            assert!(matches!(child.receive_job(), Err(Failure::NotAJob(_))), "{bytes:?}");
        }
    }
}
