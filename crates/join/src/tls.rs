//! The connection to the server: plain, or TLS with a key that is known from the first time on, as ssh knows its hosts.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use vox_cli::{Failure, note};

/// A connection that may be read by one thread and written by another.
pub(crate) struct Stream {
    tcp: TcpStream,
    tls: Option<Arc<Mutex<ClientConnection>>>,
}

impl Stream {
    pub(crate) const fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// Begins TLS, whose handshake goes on with what is read and written; gives what will know the server's key.
    pub(crate) fn encrypted(tcp: TcpStream, server: &str) -> Result<(Self, Arc<Seen>), Failure> {
        let seen = Arc::new(Seen { provider: ring::default_provider(), fingerprint: Mutex::new(None) });
        let failed = |error: Error| Failure::failed(format_args!("cannot begin TLS: {error}"));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Seen>::clone(&seen))
            .with_no_client_auth();
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|error| Failure::usage(format_args!("{server} is no name of a server: {error}")))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        Ok((Self { tcp, tls: Some(Arc::new(Mutex::new(tls))) }, seen))
    }

    pub(crate) const fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is not yet known who is at the other end.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| locked(tls).is_handshaking())
    }

    /// The same connection for another thread.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { tcp: self.tcp.try_clone()?, tls: self.tls.clone() })
    }
}

fn locked(tls: &Mutex<ClientConnection>) -> MutexGuard<'_, ClientConnection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what TLS has to say, as far as the connection takes it.
fn send(tls: &mut ClientConnection, mut tcp: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut tcp) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.read(buffer) };
        let mut tls = locked(tls);
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Cut off without a farewell, which is how most connections end.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                outcome => return outcome,
            }
            let ended = tls.read_tls(&mut self.tcp)? == 0;
            let processed = tls.process_new_packets();
            send(&mut tls, &self.tcp)?;
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, told(&error)))?;
            if ended && tls.is_handshaking() {
                return Ok(0);
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.write(bytes) };
        let mut tls = locked(tls);
        send(&mut tls, &self.tcp)?;
        let written = tls.writer().write(bytes)?;
        send(&mut tls, &self.tcp)?;
        // Its buffer is full: the connection takes no more now.
        if written == 0 && !bytes.is_empty() { Err(ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tls.as_ref().map_or(Ok(()), |tls| send(&mut locked(tls), &self.tcp))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

fn told(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) => "the server speaks no TLS (--plain, where you trust the network)".to_owned(),
        error => format!("TLS: {error}"),
    }
}

/// Takes any certificate whose owner has its key, and remembers which it was: whether it is the right one is decided by
/// [`KnownHosts`], once the handshake has shown that the server has it.
#[derive(Debug)]
pub(crate) struct Seen {
    provider: CryptoProvider,
    fingerprint: Mutex<Option<String>>,
}

impl Seen {
    /// SHA-256 of the server's certificate, in hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = Sha256::digest(certificate);
        let text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        *self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A file of servers and the fingerprints of their certificates, a line each.
pub(crate) struct KnownHosts(PathBuf);

impl KnownHosts {
    /// The file at `path`, or where the user's configuration is.
    pub(crate) fn at(path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path {
            return Ok(Self(path.to_owned()));
        }
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        let config =
            config.ok_or_else(|| Failure::usage("there is no $HOME to know servers in: --known-hosts FILE"))?;
        Ok(Self(config.join("voxpipe/known_hosts")))
    }

    /// Whether `server` is who it was the last time; who is new is remembered.
    pub(crate) fn check(&self, server: &str, fingerprint: &str) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::failed(format_args!("{}: {error}", self.0.display()));
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            outcome => outcome.map_err(failed)?,
        };
        let known = text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == server);
        match known {
            Some((_, known)) if known.trim() == fingerprint => Ok(()),
            Some((_, known)) => Err(Failure::network(format_args!(
                "{server} IS NOT WHO IT WAS: its key was {}, and is {fingerprint}. Somebody may be listening in. \
                 If its key was changed on purpose, remove its line from {}",
                known.trim(),
                self.0.display()
            ))),
            None => {
                self.remember(server, fingerprint).map_err(failed)?;
                note(format_args!("{server} is new; its key from now on: {fingerprint}"));
                Ok(())
            }
        }
    }

    fn remember(&self, server: &str, fingerprint: &str) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        // In one piece: others may be writing, too.
        file.write_all(format!("{server} {fingerprint}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_after_the_first_time_and_another_key_is_refused() {
        let folder = std::env::temp_dir().join(format!("vox-known-{}", std::process::id()));
        let file = folder.join("hosts");
        let hosts = KnownHosts::at(Some(&file)).unwrap();
        hosts.check("a:1", "aa").unwrap();
        hosts.check("b:1", "bb").unwrap();
        hosts.check("a:1", "aa").unwrap();
        let failure = hosts.check("a:1", "bb").unwrap_err();
        assert!(failure.message.contains("IS NOT WHO IT WAS") && failure.message.contains("hosts"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "a:1 aa\nb:1 bb\n");
        fs::remove_dir_all(folder).unwrap();
    }
}
