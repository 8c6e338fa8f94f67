//! Takes one sample per tick on a thread of its own, with absolute deadlines, and says what looking costs.
