//! The log level over gRPC: `proto/ringfort/admin/v1/logs.proto`.

use std::time::Duration;

use ringfort_proto::admin::v1::{self as pb, logs_server::Logs};
use tonic::{Request, Response, Status};

use crate::telemetry::logging::{self, Error};

/// The service; it has nothing of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLevels;

/// A level that is forgotten fills the disk; who wants it for longer changes the configuration.
const BACK_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

fn refused(error: Error) -> Status {
    match error {
        Error::NotALevel(_) => Status::invalid_argument(error.to_string()),
        Error::NotOurs => Status::unavailable(error.to_string()),
    }
}

fn present() -> Result<Response<pb::LogLevel>, Status> {
    let (level, configured) = logging::level().map_err(refused)?;
    Ok(Response::new(pb::LogLevel { level, configured }))
}

#[tonic::async_trait]
impl Logs for LogLevels {
    async fn get_log_level(&self, _: Request<pb::GetLogLevelRequest>) -> Result<Response<pb::LogLevel>, Status> {
        present()
    }

    async fn set_log_level(&self, request: Request<pb::SetLogLevelRequest>) -> Result<Response<pb::LogLevel>, Status> {
        let request = request.into_inner();
        let back_after = Duration::from_secs(request.back_after_secs.into());
        if back_after > BACK_AFTER_MAX {
            return Err(Status::invalid_argument("back_after_secs is above a day (86400)"));
        }
        logging::set_level(&request.level, (!back_after.is_zero()).then_some(back_after)).map_err(refused)?;
        present()
    }
}
