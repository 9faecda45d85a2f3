//! Who knocks: connections that are not yet WebSockets.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::{HeaderValue, StatusCode};
use tungstenite::{WebSocket, accept_hdr_with_config};

use crate::carrier::Carrier;
use crate::connection::config;

/// Who is let in.
#[derive(Debug, Clone)]
pub(crate) struct Doorman {
    /// The only path that is answered.
    pub(crate) path: Option<String>,
    /// Web pages that may connect.
    pub(crate) origins: Vec<String>,
    /// Whether there is no room.
    pub(crate) is_full: bool,
}

impl Doorman {
    fn refusal(&self, path: &str, origin: Option<&HeaderValue>) -> Option<StatusCode> {
        if self.path.as_deref().is_some_and(|own| own != path) {
            return Some(StatusCode::NOT_FOUND);
        }
        // Only browsers say where they come from: any page in the world may try to connect to this host's loopback.
        let known = |origin: &HeaderValue| self.origins.iter().any(|own| own.as_bytes() == origin.as_bytes());
        if origin.is_some_and(|origin| !known(origin)) {
            return Some(StatusCode::FORBIDDEN);
        }
        self.is_full.then_some(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl Callback for Doorman {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        match self.refusal(request.uri().path(), request.headers().get("Origin")) {
            None => Ok(response),
            Some(status) => {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = status;
                Err(refusal)
            }
        }
    }
}

/// A connection whose handshake is not over.
pub(crate) struct Knock {
    from: SocketAddr,
    /// When it is too late, in ns of CLOCK_MONOTONIC.
    pub(crate) until: i64,
    handshake: Option<MidHandshake<ServerHandshake<Carrier, Doorman>>>,
}

/// What became of it.
pub(crate) enum Knocked {
    /// It goes on, when there is more to read.
    Waits(Box<Knock>),
    /// It is a WebSocket.
    Open(Box<WebSocket<Carrier>>),
    /// It is none, or was refused: who, and why.
    Refused(String),
}

impl Knock {
    /// Somebody has connected.
    pub(crate) fn begin(carrier: Carrier, from: SocketAddr, until: i64, doorman: Doorman) -> Knocked {
        let outcome = accept_hdr_with_config(carrier, doorman, Some(config()));
        Box::new(Self { from, until, handshake: None }).handle(outcome)
    }

    /// There is something to read or room to write.
    pub(crate) fn go_on(mut self: Box<Self>) -> Knocked {
        match self.handshake.take() {
            Some(handshake) => self.handle(handshake.handshake()),
            None => Knocked::Refused(format!("{}: the handshake is over", self.from)),
        }
    }

    /// What to wait for.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.handshake.as_ref().map(|handshake| handshake.get_ref().get_ref().as_fd())
    }

    fn handle(
        mut self: Box<Self>,
        outcome: Result<WebSocket<Carrier>, HandshakeError<ServerHandshake<Carrier, Doorman>>>,
    ) -> Knocked {
        match outcome {
            Ok(socket) => Knocked::Open(Box::new(socket)),
            Err(HandshakeError::Interrupted(handshake)) => {
                self.handshake = Some(handshake);
                Knocked::Waits(self)
            }
            Err(HandshakeError::Failure(error)) => Knocked::Refused(format!("{}: {error}", self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_pages_and_other_paths_are_refused() {
        let doorman = Doorman {
            path: Some("/media".to_owned()),
            origins: vec!["https://app.example".to_owned()],
            is_full: false,
        };
        let own = HeaderValue::from_static("https://app.example");
        let other = HeaderValue::from_static("https://evil.example");
        assert_eq!(doorman.refusal("/media", None), None);
        assert_eq!(doorman.refusal("/media", Some(&own)), None);
        assert_eq!(doorman.refusal("/media", Some(&other)), Some(StatusCode::FORBIDDEN));
        assert_eq!(doorman.refusal("/", None), Some(StatusCode::NOT_FOUND));
        let full = Doorman { is_full: true, ..doorman };
        assert_eq!(full.refusal("/media", None), Some(StatusCode::SERVICE_UNAVAILABLE));
    }
}
