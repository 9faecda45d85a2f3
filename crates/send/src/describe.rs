//! The session description of what is sent, for players: `--sdp FILE`.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use vox_cli::Failure;
use vox_rtp::{AnnouncedStream, Announcement, Retransmission};

use crate::again::{Again, KEEP_MS};
use crate::args::Args;
use crate::cover::{crypto_line, key};

pub(crate) struct Notice {
    file: PathBuf,
    announcement: Announcement,
}

impl Notice {
    /// The description for players at `to`, to whom packets come from `source`.
    ///
    /// # Errors
    /// Where the key cannot be read.
    pub(crate) fn new(
        args: &Args,
        path: Option<(SocketAddr, Option<IpAddr>)>,
        session: u64,
    ) -> Result<Option<Self>, Failure> {
        let Some(file) = args.sdp.clone() else { return Ok(None) };
        let Some((to, source)) = path else {
            return Err(Failure::usage("--sdp describes what goes over UDP, and every destination is tcp://"));
        };
        let announcement = Announcement {
            address: to.ip(),
            port: to.port(),
            ttl: args.ttl,
            source,
            session,
            version: 0,
            extensions: args.extensions(),
            rtcp_mux: args.rtcp_mux,
            crypto: key(args)?.map(crypto_line),
            red: args.protection().red.map(|(payload_type, _)| payload_type),
            parity: args.protection().parity.map(|(payload_type, _)| payload_type),
            retransmission: None,
            streams: Vec::new(),
        };
        Ok(Some(Self { file, announcement }))
    }

    /// A stream begins: the file describes it beside the others.
    pub(crate) fn add(&mut self, stream: AnnouncedStream, again: Option<&Again>) -> Result<(), Failure> {
        self.announcement.retransmission =
            again.map(|again| Retransmission { types: again.types(), keep_ms: Some(KEEP_MS) });
        self.announcement.streams.retain(|known| known.ssrc != stream.ssrc);
        self.announcement.streams.push(stream);
        self.announcement.version += 1;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let secret = self.announcement.crypto.is_some();
        if secret {
            // Whoever reads the file can listen.
            options.mode(0o600);
        }
        let file = options.open(&self.file);
        file.and_then(|mut file| {
            if secret {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            file.write_all(self.announcement.to_sdp().as_bytes())
        })
        .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", self.file.display())))
    }

    /// A stream has ended. The file keeps it until another begins: a recording is often described for later.
    pub(crate) fn remove(&mut self, ssrc: u32) {
        if self.announcement.streams.len() > 1 {
            self.announcement.streams.retain(|known| known.ssrc != ssrc);
        }
    }
}
