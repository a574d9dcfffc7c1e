//! A seeded world: agents and the bridge's real cores under simulated link, clock, disk and crashes.
