//! What accepts and opens connections: epoll and tokio behind one interface.
