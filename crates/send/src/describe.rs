//! The session description of what is sent, for players: `--sdp FILE`, and what is announced of it: `--announce`.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use vox_announce::{Herald, HeraldOptions};
use vox_cli::Failure;
use vox_rtp::{AnnouncedStream, Announcement, Retransmission};

use crate::again::{Again, KEEP_MS};
use crate::args::Args;
use crate::cover::{crypto_line, key};
use crate::stream::random;

pub(crate) struct Notice {
    file: Option<PathBuf>,
    herald: Option<Herald>,
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
        let file = args.sdp.clone();
        if file.is_none() && args.announce.is_empty() {
            return Ok(None);
        }
        let Some((to, source)) = path else {
            return Err(Failure::usage(
                "--sdp and --announce are for what goes over UDP, and every destination is tcp://",
            ));
        };
        let herald = (!args.announce.is_empty()).then(|| Herald::open(&speaking(args, to))).transpose()?;
        let announcement = Announcement {
            name: args.name.clone().unwrap_or_else(|| "Voxpipe".to_owned()),
            address: to.ip(),
            port: to.port(),
            ttl: args.ttl,
            source,
            session,
            version: 0,
            extensions: args.extensions(),
            rtcp_mux: args.rtcp_mux,
            crypto: key(args)?.map(crypto_line),
            secure: false,
            red: args.protection().red.map(|(payload_type, _)| payload_type),
            parity: args.protection().parity.map(|(payload_type, _)| payload_type),
            retransmission: None,
            streams: Vec::new(),
        };
        Ok(Some(Self { file, herald, announcement }))
    }

    /// A stream begins: it is described beside the others.
    pub(crate) fn add(&mut self, stream: AnnouncedStream, again: Option<&Again>) -> Result<(), Failure> {
        self.announcement.retransmission =
            again.map(|again| Retransmission { types: again.types(), keep_ms: Some(KEEP_MS) });
        self.announcement.streams.retain(|known| known.ssrc != stream.ssrc);
        self.announcement.streams.push(stream);
        self.announcement.version += 1;
        self.announce()?;
        self.write()
    }

    fn announce(&mut self) -> Result<(), Failure> {
        let Some(herald) = &mut self.herald else { return Ok(()) };
        herald.describe(&self.announcement.public().to_sdp())
    }

    fn write(&self) -> Result<(), Failure> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let secret = self.announcement.crypto.is_some();
        if secret {
            // Whoever reads the file can listen.
            options.mode(0o600);
        }
        let file = options.open(path);
        file.and_then(|mut file| {
            if secret {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            file.write_all(self.announcement.to_sdp().as_bytes())
        })
        .map_err(|error| Failure::failed(format_args!("cannot write {}: {error}", path.display())))
    }

    /// A stream has ended. The file keeps it until another begins: a recording is often described for later.
    pub(crate) fn remove(&mut self, ssrc: u32) {
        if self.announcement.streams.len() > 1 {
            self.announcement.streams.retain(|known| known.ssrc != ssrc);
        }
    }
}

fn speaking(args: &Args, media: SocketAddr) -> HeraldOptions {
    HeraldOptions {
        ways: args.announce.clone(),
        name: args.name.clone().unwrap_or_default(),
        media,
        group: args.sap_group,
        interval_ns: args.announce_interval.ns(),
        ttl: args.ttl,
        interface: args.interface.clone(),
        multicast_loop: !args.no_loop,
        seed: u64::from(random()) << 32 | u64::from(random()),
    }
}
