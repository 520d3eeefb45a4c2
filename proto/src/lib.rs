//! Generated types of Ringfort's gRPC services. No logic, no conversions.
#![allow(missing_docs, clippy::all)]

/// Load test coordinator to workers.
pub mod bench {
    /// Version 1 of the wire.
    pub mod v1 {
        tonic::include_proto!("ringfort.bench.v1");
    }
}

/// Node to node: consensus, control and router links.
pub mod cluster {
    /// Version 1 of the wire.
    pub mod v1 {
        tonic::include_proto!("ringfort.cluster.v1");
    }
}

/// What operators change while the cluster runs.
pub mod admin {
    /// Version 1 of the wire.
    pub mod v1 {
        tonic::include_proto!("ringfort.admin.v1");

        /// The services as they describe themselves, encoded.
        pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/admin_descriptors.bin"));
    }
}
