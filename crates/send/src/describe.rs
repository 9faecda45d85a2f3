//! The session description of what is sent, for players: `--sdp FILE`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use vox_cli::Failure;
use vox_rtp::{AnnouncedStream, Announcement};

use crate::args::Args;

pub(crate) struct Notice {
    file: PathBuf,
    announcement: Announcement,
}

impl Notice {
    /// The description for players at `to`, to whom packets come from `source`.
    pub(crate) fn new(args: &Args, to: SocketAddr, source: Option<IpAddr>, session: u64) -> Option<Self> {
        let announcement = Announcement {
            address: to.ip(),
            port: to.port(),
            ttl: args.ttl,
            source,
            session,
            version: 0,
            extensions: args.extensions(),
            rtcp_mux: args.rtcp_mux,
            crypto: None,
            streams: Vec::new(),
        };
        Some(Self { file: args.sdp.clone()?, announcement })
    }

    /// A stream begins: the file describes it beside the others.
    pub(crate) fn add(&mut self, stream: AnnouncedStream) -> Result<(), Failure> {
        self.announcement.streams.retain(|known| known.ssrc != stream.ssrc);
        self.announcement.streams.push(stream);
        self.announcement.version += 1;
        std::fs::write(&self.file, self.announcement.to_sdp())
            .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", self.file.display())))
    }

    /// A stream has ended. The file keeps it until another begins: a recording is often described for later.
    pub(crate) fn remove(&mut self, ssrc: u32) {
        if self.announcement.streams.len() > 1 {
            self.announcement.streams.retain(|known| known.ssrc != ssrc);
        }
    }
}
