//! `ringfort admin reload`.

use ringfort_proto::admin::v1 as pb;
use tonic::transport::Channel;

use super::{Failure, print_line, refused};

/// The exit code of settings that are wrong, as that of a node that does not start with them.
const WRONG: u8 = 3;

/// Has the node read its settings again, and prints what came of it.
pub(super) async fn reload(channel: Channel) -> Result<(), Failure> {
    let mut settings = pb::settings_client::SettingsClient::new(channel);
    let reply = settings.reload(pb::ReloadRequest {}).await.map_err(refused)?.into_inner();
    if !reply.refused.is_empty() {
        return Err(Failure {
            code: WRONG,
            text: format!("refused, and nothing was changed:\n{}", reply.refused.join("\n")),
        });
    }
    for (what, paths) in [
        ("applied", &reply.applied),
        ("needs a restart", &reply.needs_restart),
        ("has no effect (use ringfort admin)", &reply.without_effect),
    ] {
        for path in paths {
            print_line(&format!("{what}: {path}"))?;
        }
    }
    if reply.applied.is_empty() && reply.needs_restart.is_empty() && reply.without_effect.is_empty() {
        print_line("nothing has changed")?;
    }
    Ok(())
}
