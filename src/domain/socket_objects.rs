//! Which kernel objects one TCP socket consists of, by the names of their slab caches. The plan prices a connection by them
//! and the report shares out what was counted, so both take them from here. `docs/memory.md` names the kernel's sources.

/// The socket itself: made with the last packet of the handshake at the server, by socket(2) at the client.
pub const SOCKET: &str = "TCP";

/// What a socket has once a program owns it: at the client always, at the server from accept(2) on.
pub const OWNED: [&str; 5] = [
    "sock_inode_cache",
    "filp",
    "dentry",
    "lsm_inode_cache",
    "lsm_file_cache",
];

/// What epoll has for each socket that it watches.
pub const WATCHED: [&str; 3] = ["eventpoll_epi", "eventpoll_pwq", "ep_head"];

/// What a connection of the server has beside its socket until accept(2).
pub const QUEUED: &str = "request_sock_TCP";

/// The entry of a port in the table of bound ports. Only clients have one: accepted sockets share the listener's.
pub const PORT_BUCKET: &str = "tcp_bind_bucket";

/// The entry of an address with a port in the table of bound ports, at the client.
pub const ADDRESS_BUCKET: &str = "tcp_bind2_bucket";
