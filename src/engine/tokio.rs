//! tokio
pub(super) use super::epoll::EpollEngine as TokioEngine;
