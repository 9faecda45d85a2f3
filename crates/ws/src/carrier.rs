//! What carries a WebSocket: TCP, or TLS over it.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use vox_cli::Failure;

/// A connection that never blocks.
pub(crate) enum Carrier {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Carrier {
    /// TLS to `host`, whose certificate the system trusts, or that of `ca`; the handshake goes on with what is read and
    /// written.
    pub(crate) fn encrypted(tcp: TcpStream, host: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let failed = |error: &dyn Display| Failure::failed(format_args!("cannot begin TLS: {error}"));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Failure::usage(format_args!("{host} is no name of a server: {error}")))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|error| failed(&error))?;
        Ok(Self::Tls(Box::new(StreamOwned::new(tls, tcp))))
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

/// Who may say who somebody is.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut store = RootCertStore::empty();
    let certificates = match ca {
        Some(path) => {
            let failed = |error: &dyn Display| Failure::failed(format_args!("cannot use {}: {error}", path.display()));
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))?.collect();
            read.map_err(|error| failed(&error))?
        }
        None => rustls_native_certs::load_native_certs().certs,
    };
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        let hint = "there is no certificate to trust: install ca-certificates, or name a file with --ca";
        return Err(Failure::failed(hint));
    }
    Ok(store)
}

impl Read for Carrier {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl AsFd for Carrier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}
