//! Tests of consensus: the stores under openraft's own suite, files under damage and power cuts, and three nodes over real sockets.

mod cluster;
mod conformance;
mod damage;
mod disk;
mod durability;
mod support;
mod wire;
