//! epoll(7), edge-triggered, with the descriptor itself as the token.

use std::io;
use std::time::Duration;

use super::check;
use super::descriptor::Descriptor;

/// What an event may say. The bits of `EPOLL_EVENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch(u32);

/// The C library has these as signed numbers, the kernel takes them as unsigned ones.
const fn bits(of: libc::c_int) -> u32 {
    of.cast_unsigned()
}

impl Watch {
    /// Data and closing, at each change: what an echo server asks for.
    pub const DATA: Self = Self(bits(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET));
    /// The same and room to write.
    pub const DATA_AND_ROOM: Self = Self(bits(
        libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
    ));
    /// Closing only: data stays unread.
    pub const CLOSING: Self = Self(bits(libc::EPOLLRDHUP | libc::EPOLLET));
    /// A listener that several threads wait on, one or few of them woken at a time (`EPOLLEXCLUSIVE`, Linux 4.5).
    pub const LISTENER: Self = Self(bits(libc::EPOLLIN | libc::EPOLLEXCLUSIVE));
    /// An eventfd: each write to it is one event.
    pub const EVENTFD: Self = Self(bits(libc::EPOLLIN | libc::EPOLLET));
}

/// An event of a watched descriptor.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct EpollEvent(libc::epoll_event);

impl EpollEvent {
    /// No event. It fills a buffer.
    pub const NONE: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// The descriptor.
    #[must_use]
    pub fn descriptor(self) -> Descriptor {
        let token = self.0.u64;
        Descriptor::from_number(i32::try_from(token).unwrap_or(-1))
    }

    /// Whether the peer has closed, or the connection has an error.
    #[must_use]
    pub const fn broken(self) -> bool {
        self.0.events & bits(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0
    }
}

/// An epoll instance.
#[derive(Debug, Clone, Copy)]
pub struct Epoll(Descriptor);

impl Epoll {
    /// A new one, in the table of the calling thread; it goes when the table goes.
    ///
    /// # Errors
    /// When the table is full or the kernel has no memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes a number and touches no memory of ours.
        let number = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self(Descriptor::from_number(number)))
    }

    /// Its own descriptor, which poll(2) finds readable when events wait.
    #[must_use]
    pub const fn descriptor(self) -> Descriptor {
        self.0
    }

    /// Watches a descriptor: 208 bytes of kernel memory until it is closed.
    ///
    /// # Errors
    /// ENOSPC when `fs.epoll.max_user_watches` is reached.
    pub fn add(self, descriptor: Descriptor, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, watch)
    }

    /// Changes what a descriptor is watched for; what holds already is told once more.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn change(self, descriptor: Descriptor, watch: Watch) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, descriptor, watch)
    }

    /// Ends watching a descriptor that stays open.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn remove(self, descriptor: Descriptor) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, Watch(0))
    }

    fn control(self, what: libc::c_int, descriptor: Descriptor, watch: Watch) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: watch.0,
            u64: u64::from(descriptor.number().unsigned_abs()),
        };
        // SAFETY: `event` is a valid epoll_event that lives through the call; the kernel copies it.
        check(unsafe {
            libc::epoll_ctl(self.0.number(), what, descriptor.number(), &raw mut event)
        })
        .map(drop)
    }

    /// Waits for events, at most this long, without end when that is absent. A signal counts as none.
    ///
    /// # Errors
    /// When this is no epoll instance of the calling thread's table.
    pub fn wait(
        self,
        buffer: &mut [EpollEvent],
        longest: Option<Duration>,
    ) -> io::Result<&[EpollEvent]> {
        // Upwards to whole milliseconds, so that a short rest is waited for and not looked at again and again.
        let timeout = longest.map_or(-1, |longest| {
            i32::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        let room = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
        // SAFETY: `EpollEvent` is a transparent epoll_event and the buffer has room for as many as `room` says.
        let returned =
            unsafe { libc::epoll_wait(self.0.number(), buffer.as_mut_ptr().cast(), room, timeout) };
        match check(returned) {
            Ok(count) => Ok(&buffer[..usize::try_from(count).unwrap_or(0)]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}
