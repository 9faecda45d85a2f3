//! The server's certificate, given or made at the first start, and what TLS makes of bytes.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use sha2::{Digest, Sha256};
use vox_cli::{Failure, note};

use crate::args::Args;

/// What a TLS connection begins with: the type of a handshake record (RFC 8446, 5.1). No line begins so.
pub(crate) const HANDSHAKE: u8 = 22;

/// Bytes that TLS keeps for a slow reader, beyond what waits outside of it.
const BUFFER: usize = 64 * 1024;

/// Who the server is to its clients.
pub(crate) struct Identity(Arc<ServerConfig>);

impl Identity {
    /// The certificate (chain) and key in two PEM files.
    pub(crate) fn given(certificate: &Path, key: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::failed(format_args!("cannot use {}: {error}", path.display()))
        };
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(certificate).map_err(|error| failed(certificate, &error))?.collect();
        let chain = chain.map_err(|error| failed(certificate, &error))?;
        let first = chain.first().ok_or_else(|| failed(certificate, &"there is no certificate in it"))?;
        let fingerprint: String = Sha256::digest(first).iter().map(|byte| format!("{byte:02x}")).collect();
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| failed(certificate, &error))?;
        note(format_args!("TLS with the key {fingerprint}"));
        Ok(Self(Arc::new(config)))
    }

    /// That of an earlier start in `folder`, or one that is made now and kept there.
    pub(crate) fn own(folder: &Path, host: &str) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format_args!("cannot keep a certificate in {}: {error}", folder.display()))
        };
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        if !key.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(&error))?;
            let made = rcgen::generate_simple_self_signed([host.to_owned()]).map_err(|error| failed(&error))?;
            write_new(&certificate, &made.cert.pem()).map_err(|error| failed(&error))?;
            write_new(&key, &made.signing_key.serialize_pem()).map_err(|error| failed(&error))?;
        }
        Self::given(&certificate, &key)
    }

    /// A connection that a client has begun.
    pub(crate) fn connection(&self) -> Option<Box<ServerConnection>> {
        let mut connection = ServerConnection::new(Arc::clone(&self.0)).ok()?;
        connection.set_buffer_limit(Some(BUFFER));
        Some(Box::new(connection))
    }
}

/// Who the server is by TLS. On loopback alone nobody listens in, and it is nobody unless asked to be.
pub(crate) fn identity(args: &Args) -> Result<Option<Identity>, Failure> {
    if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
        return Identity::given(certificate, key).map(Some);
    }
    let asked = args.tls_folder.clone();
    if asked.is_none() && args.listen.ip().is_loopback() {
        return Ok(None);
    }
    let folder = asked.or_else(|| default_folder(args.state.as_deref()));
    let folder = folder.ok_or_else(|| Failure::usage("there is no $HOME to keep a certificate in: --tls-folder"))?;
    Identity::own(&folder, args.host()).map(Some)
}

/// Where the certificate is kept, unless told otherwise: with the state, or where the user's state is.
fn default_folder(state: Option<&Path>) -> Option<PathBuf> {
    if let Some(folder) = state.and_then(Path::parent) {
        return Some(folder.to_owned());
    }
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("vox-roomd"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // Whole or not at all: a start that is cut off leaves nothing half written under that name.
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

/// Reads what the client says; as a plain connection does.
pub(crate) fn read(tls: &mut ServerConnection, mut tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            outcome => return outcome,
        }
        let ended = tls.read_tls(&mut tcp)? == 0;
        let processed = tls.process_new_packets();
        // Also what it says of an error.
        send(tls, tcp)?;
        processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        if ended && tls.is_handshaking() {
            return Ok(0);
        }
    }
}

/// Takes what is said to the client, as far as there is room.
pub(crate) fn write(tls: &mut ServerConnection, tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    send(tls, tcp)?;
    let written = tls.writer().write(bytes)?;
    send(tls, tcp)?;
    if written == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(written) }
}

/// Writes what TLS has to say, as far as the connection takes it.
pub(crate) fn send(tls: &mut ServerConnection, mut tcp: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut tcp) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
