//! `collector`: takes traces over OTLP and throws them away, so that sending them can be measured.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Args;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{Request, Response, Status, transport::Server};

/// `collector`
#[derive(Debug, Args)]
pub(crate) struct Collector {
    /// Where nodes send their traces.
    #[arg(long)]
    listen: SocketAddr,
}

struct Nothing;

#[tonic::async_trait]
impl TraceService for Nothing {
    async fn export(&self, _: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until it is killed.
    pub(crate) async fn run(self) -> Result<bool> {
        let serving = Server::builder()
            .add_service(TraceServiceServer::new(Nothing))
            .serve(self.listen);
        serving.await?;
        Ok(true)
    }
}
