//! Calls that ask for more than one plain answer, in a random walk.

use super::{PROCEDURES, World, oracle::Asked};
use crate::wamp::{Dict, Message, Uri};

impl World {
    pub(super) fn flow(&mut self, kind: u8, a: usize, b: usize) {
        match kind {
            128..=138 => self.call_with_options(a, b),
            139..=144 => self.cancel(a, b),
            145..=151 => self.answer_in_part(a, b),
            152..=158 => self.send_part(a, b),
            _ => self.send_late_part(a),
        }
    }

    fn call_with_options(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let (wishes, procedure) = (b / 3, PROCEDURES[b % PROCEDURES.len()]);
        let asked = Asked {
            disclose: wishes & 1 != 0,
            progress: wishes & 2 != 0,
            in_parts: wishes & 4 != 0 && self.oracle.may_call_in_parts(session),
        };
        let mut options = Dict::new();
        for (option, wanted) in [
            ("disclose_me", asked.disclose),
            ("receive_progress", asked.progress),
            ("progress", asked.in_parts),
        ] {
            if wanted {
                options.set(option, true);
            }
        }
        if wishes & 8 != 0 {
            options.set("timeout", (wishes as u64 / 16) % 3_000);
        }
        if a.is_multiple_of(4) {
            options.set("rkey", format!("k{}", a / 4 % 3));
        }
        let payload = self.oracle.question(session);
        self.oracle.asks(session, asked);
        let request = self.oracle.next_request(session);
        let procedure = Uri::from(procedure);
        self.says(
            session,
            Message::Call {
                request,
                options,
                procedure,
                payload,
            },
        );
    }

    fn cancel(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let Some(request) = self.oracle.open_call(session, b) else {
            return;
        };
        let (mode, at_once) = [
            ("skip", true),
            ("kill", false),
            ("killnowait", true),
            ("", true),
            ("no_mode", true),
        ][b % 5];
        let mut options = Dict::new();
        if !mode.is_empty() {
            options.set("mode", mode);
        }
        self.says(session, Message::Cancel { request, options });
        assert!(
            !(at_once && self.oracle.has_open_call(session, request)),
            "mode {mode} answers at once"
        );
        // The second one crosses the answer, or is none.
        if b.is_multiple_of(7) {
            let options = Dict::new();
            self.says(session, Message::Cancel { request, options });
        }
    }

    fn answer_in_part(&mut self, a: usize, b: usize) {
        let invoked = self.oracle.invoked();
        if invoked.is_empty() {
            return;
        }
        let session = invoked[a % invoked.len()];
        let Some((request, _)) = self.oracle.open_invocation(session, b) else {
            return;
        };
        let Some(payload) = self.oracle.next_progress(session, request) else {
            return;
        };
        let options = Dict::new().with("progress", true);
        self.says(
            session,
            Message::Yield {
                request,
                options,
                payload,
            },
        );
    }

    fn send_part(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let last = b.is_multiple_of(3);
        let Some((request, payload)) = self.oracle.next_part(session, b, last) else {
            return;
        };
        self.says_part(session, request, payload, last);
    }

    /// A part that crosses the end of its call, whatever that was.
    fn send_late_part(&mut self, a: usize) {
        let Some(session) = self.pick(a) else { return };
        let Some((request, payload)) = self.oracle.next_part(session, 0, false) else {
            return;
        };
        let options = Dict::new().with("mode", "skip");
        self.says(session, Message::Cancel { request, options });
        self.says_part(session, request, payload, a.is_multiple_of(2));
    }

    fn says_part(
        &mut self,
        session: crate::wamp::SessionId,
        request: crate::wamp::RequestId,
        payload: crate::wamp::Payload,
        last: bool,
    ) {
        let mut options = Dict::new();
        if !last {
            options.set("progress", true);
        }
        let procedure = Uri::from(PROCEDURES[0]);
        let message = Message::Call {
            request,
            options,
            procedure,
            payload,
        };
        let node = self.oracle.node_of(session);
        self.input(node, crate::router::Input::Message { session, message });
    }
}
