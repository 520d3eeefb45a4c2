//! The socket under TLS while its peer is nobody yet: what rustls keeps of it is bounded.
//!
//! rustls keeps what it has read of a record until that is whole, and has room for 4 KiB more each time: the beginning of one record costs
//! 8 KiB, that of a long one 32 KiB. So a record is read when all of it has come, and waits in the buffers of the kernel until then; one
//! that is longer than anything that could be said yet ends the connection; and of a handshake, of which every byte is kept until it is
//! whole, only so much is read.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// See the module.
#[derive(Debug)]
pub struct Bounded {
    socket: TcpStream,
    /// What may still be read; [`Self::ANY`] for any amount.
    left: u32,
    /// The longest record that is taken, [`Self::ANY`] for any; `None`: records are not looked at any more.
    record_max: Option<u32>,
    /// What is still to be read of the record that was begun.
    in_record: u32,
}

/// The type, the version and the length of a record.
const HEADER_BYTES: usize = 5;
/// How much is looked at; a longer record is read as it comes. On the stack of the thread.
const PEEK_BYTES: usize = 6 * 1024;
/// How often a record is looked at in a row.
const LOOKS_MAX: u32 = 8;
/// What encryption and padding may add to what is said in a record.
const RECORD_OVERHEAD: u32 = 1024;

impl Bounded {
    const ANY: u32 = u32::MAX;

    /// A socket of which about `bytes` are taken for the handshake: the read that goes beyond is the last one.
    pub fn new(socket: TcpStream, bytes: usize) -> Self {
        Self {
            socket,
            left: u32::try_from(bytes).unwrap_or(Self::ANY),
            record_max: Some(Self::ANY),
            in_record: 0,
        }
    }

    /// The handshake is done: any number of records are taken in which no more is said than `bytes`.
    pub fn handshaken(&mut self, bytes: usize) {
        self.left = Self::ANY;
        let said = u32::try_from(bytes).unwrap_or(Self::ANY);
        self.record_max = Some(said.saturating_add(RECORD_OVERHEAD));
    }

    /// From now on all is taken as it comes.
    pub fn unbind(&mut self) {
        self.left = Self::ANY;
        self.record_max = None;
    }

    /// Waits until the next record is there, and begins it.
    fn poll_record(&mut self, cx: &mut Context<'_>, record_max: u32) -> Poll<io::Result<()>> {
        for look in 1..=LOOKS_MAX {
            ready!(self.socket.poll_read_ready(cx))?;
            let mut piece = [MaybeUninit::uninit(); PEEK_BYTES];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(self.socket.poll_peek(cx, &mut piece))?;
            let came = piece.filled();
            let long = match came.get(3..HEADER_BYTES) {
                Some(&[high, low]) => HEADER_BYTES + usize::from(u16::from_be_bytes([high, low])),
                _ => HEADER_BYTES,
            };
            if came.len() >= HEADER_BYTES && long - HEADER_BYTES > record_max as usize {
                let text = "a record longer than anything to be said before a session is established";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            let is_whole = came.len() >= HEADER_BYTES && came.len() >= long.min(PEEK_BYTES);
            // At the end of the stream nothing more will come, and rustls is to see that.
            if is_whole || came.is_empty() || look == LOOKS_MAX {
                self.in_record = u32::try_from(long).unwrap_or(Self::ANY);
                return Poll::Ready(Ok(()));
            }
            // What is there was seen: only more of it is to wake the task. If more has come meanwhile, or the end, it is looked at again,
            // and taken as it is in the end.
            let seen = self
                .socket
                .try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            debug_assert!(seen.is_err());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(record_max) = self.record_max else {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        };
        if self.left == 0 {
            // No error: the handshake may be whole by now, and what came too much the beginning of what follows. If it is not, nothing
            // wakes it any more, and its time runs out.
            return Poll::Pending;
        }
        if self.in_record == 0 {
            ready!(self.poll_record(cx, record_max))?;
        }
        // rustls hands in memory that is initialized, so nothing is zeroed here.
        let most = buf.remaining().min(self.in_record as usize);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut piece))?;
        let taken = piece.filled().len();
        buf.advance(taken);
        let taken = u32::try_from(taken).unwrap_or(Self::ANY);
        self.in_record = self.in_record.saturating_sub(taken);
        if self.left != Self::ANY {
            self.left = self.left.saturating_sub(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    async fn pair(bytes: usize) -> (TcpStream, Bounded) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        (peer, Bounded::new(socket, bytes))
    }

    fn record(len: u16) -> Vec<u8> {
        let mut bytes = vec![0x17, 3, 3];
        bytes.extend(len.to_be_bytes());
        bytes.extend(vec![7; len.into()]);
        bytes
    }

    async fn read(bounded: &mut Bounded) -> Option<io::Result<usize>> {
        let mut buffer = [0; 4096];
        timeout(Duration::from_millis(200), bounded.read(&mut buffer)).await.ok()
    }

    #[tokio::test]
    async fn a_record_is_read_when_it_is_whole_and_one_at_a_time() {
        let (mut peer, mut bounded) = pair(10_000).await;
        let bytes = [record(100), record(30), record(4000)].concat();
        let (first, rest) = bytes.split_at(104);
        peer.write_all(first).await.unwrap();
        assert!(read(&mut bounded).await.is_none(), "the last byte is missing");
        let (second, rest) = rest.split_at(33);
        peer.write_all(second).await.unwrap();
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 105);
        assert!(read(&mut bounded).await.is_none());
        peer.write_all(rest).await.unwrap();
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 35);
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 4005);
        peer.write_all(&record(9)[..4]).await.unwrap();
        drop(peer);
        assert_eq!(
            read(&mut bounded).await.unwrap().unwrap(),
            4,
            "what no more will come to is not waited for"
        );
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_wake_it_until_all_are_there() {
        let (mut peer, mut bounded) = pair(10_000).await;
        let reading = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            bounded.read(&mut buffer).await.unwrap()
        });
        for byte in record(20) {
            peer.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(timeout(Duration::from_secs(5), reading).await.unwrap().unwrap(), 25);
    }

    #[tokio::test]
    async fn after_the_handshake_no_record_is_longer_than_what_can_be_said_until_all_is_taken() {
        let (mut peer, mut bounded) = pair(10_000).await;
        bounded.handshaken(4096);
        peer.write_all(&record(5000)).await.unwrap();
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 4096);
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 909);
        peer.write_all(&record(6000)[..50]).await.unwrap();
        assert!(read(&mut bounded).await.unwrap().is_err());
        bounded.unbind();
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 50);
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_read_no_further() {
        let (mut peer, mut bounded) = pair(150).await;
        peer.write_all(&[record(100), record(100), record(1)].concat()).await.unwrap();
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 105);
        assert_eq!(read(&mut bounded).await.unwrap().unwrap(), 105);
        assert!(read(&mut bounded).await.is_none());
    }
}
