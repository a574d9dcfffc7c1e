//! What agent and bridge say to each other: ids, topics, frames, limits and signatures. No I/O.
