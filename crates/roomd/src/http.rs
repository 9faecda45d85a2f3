//! `/metrics` for Prometheus and `/health`, for whoever watches the server.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use vox_cli::Failure;

/// How long a client may take for its question and for reading the answer, and the server's loop for its figures.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Name in the figures, name for Prometheus, what it counts, and whether it only grows.
const METRICS: &[(&str, &str, &str, MetricType)] = &[
    ("members", "voxpipe_members", "People who are here", MetricType::Gauge),
    ("rooms", "voxpipe_rooms", "Rooms, the lobby included", MetricType::Gauge),
    ("connections", "voxpipe_connections", "Connections of the signalling", MetricType::Gauge),
    ("lines", "voxpipe_lines", "Lines of the signalling that came", MetricType::Counter),
    ("linesMisunderstood", "voxpipe_lines_misunderstood", "Lines that were not understood", MetricType::Counter),
    ("linesRefused", "voxpipe_lines_refused", "Lines beyond the rate", MetricType::Counter),
    ("packetsReceived", "voxpipe_packets_received", "Packets of members", MetricType::Counter),
    ("bytesReceived", "voxpipe_received_bytes", "Bytes of these packets", MetricType::Counter),
    ("packetsSent", "voxpipe_packets_sent", "Packets forwarded, each listener counted", MetricType::Counter),
    ("bytesSent", "voxpipe_sent_bytes", "Bytes of these packets", MetricType::Counter),
    ("packetsForeign", "voxpipe_packets_foreign", "Datagrams of nobody who is known here", MetricType::Counter),
    ("packetsMalformed", "voxpipe_packets_malformed", "Packets that are no RTP", MetricType::Counter),
    ("packetsUnauthentic", "voxpipe_packets_unauthentic", "Packets forged or seen before", MetricType::Counter),
    ("packetsRefused", "voxpipe_packets_refused", "Packets beyond the rate", MetricType::Counter),
    ("packetsQuiet", "voxpipe_packets_quiet", "Packets that were not among the loudest", MetricType::Counter),
    ("packetsUnheard", "voxpipe_packets_unheard", "Packets that nobody was to hear", MetricType::Counter),
    ("packetsNotMixed", "voxpipe_packets_not_mixed", "Packets that found too many before them", MetricType::Counter),
    ("packetsNotRecorded", "voxpipe_packets_not_recorded", "Packets that no disk kept up with", MetricType::Counter),
    ("mixersBusy", "voxpipe_mixers_busy", "Mixers that encode with less effort", MetricType::Gauge),
    ("sendErrors", "voxpipe_send_errors", "Datagrams that the system did not take", MetricType::Counter),
];

/// Serves HTTP at `address`, asking for figures by `figures`, whose other end the server's loop answers.
pub(crate) fn serve(address: SocketAddr, figures: UnixStream) -> Result<SocketAddr, Failure> {
    let failed = |error: io::Error| Failure::network(format_args!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    figures.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    figures.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let mut figures = BufReader::new(figures);
    // One after the other: it is for a watcher or two, and nobody else's memory or threads.
    let serve = move || {
        for stream in listener.incoming().flatten() {
            let _it_went_away = answer(&stream, &mut figures);
        }
    };
    thread::Builder::new().name("http".to_owned()).spawn(serve).map_err(failed)?;
    Ok(bound)
}

fn answer(mut stream: &TcpStream, figures: &mut BufReader<UnixStream>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match path(stream)?.as_deref() {
        Some("/metrics") => match ask(figures) {
            Ok(figures) => ("200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics(figures)),
            Err(_) => unwell(),
        },
        Some("/health") => match ask(figures) {
            Ok(_) => ("200 OK", "text/plain; charset=utf-8", "ok\n".to_owned()),
            Err(_) => unwell(),
        },
        Some(_) => ("404 Not Found", "text/plain; charset=utf-8", "/metrics or /health\n".to_owned()),
        None => ("400 Bad Request", "text/plain; charset=utf-8", "this is no GET\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn unwell() -> (&'static str, &'static str, String) {
    ("503 Service Unavailable", "text/plain; charset=utf-8", "the server does not answer\n".to_owned())
}

/// What is asked for; none where that is no GET.
fn path(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut space = [0; 1024];
    loop {
        let read = (&*stream).read(&mut space)?;
        head.extend_from_slice(&space[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.filter(|_| request.method == Some("GET"));
                return Ok(path.map(|path| path.split('?').next().unwrap_or_default().to_owned()));
            }
            Ok(httparse::Status::Partial) if read > 0 && head.len() <= MAX_HEAD => {}
            _ => return Ok(None),
        }
    }
}

/// Asks the server's loop, which so shows that it goes round.
fn ask(figures: &mut BufReader<UnixStream>) -> io::Result<Value> {
    // An answer that came too late for an earlier question is of no use.
    let late = figures.buffer().len();
    figures.consume(late);
    figures.get_mut().write_all(b"{\"do\":\"stats\"}\n")?;
    let mut line = String::new();
    figures.read_line(&mut line)?;
    Ok(serde_json::from_str(&line).unwrap_or_else(|_| json!({})))
}

fn metrics(figures: Value) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(figures)));
    let mut text = String::new();
    // Writing into a String does not fail.
    let _written = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Figures(Value);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (key, name, help, kind) in METRICS {
            let Some(value) = self.0[*key].as_u64() else { continue };
            let metric = encoder.encode_descriptor(name, help, None, *kind)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(value as i64).encode(metric)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_prometheus_reads_them() {
        let text = metrics(json!({ "members": 3, "packetsSent": 17_000_000_000_u64 }));
        assert!(text.contains("# TYPE voxpipe_members gauge\nvoxpipe_members 3\n"), "{text}");
        assert!(text.contains("voxpipe_packets_sent_total 17000000000\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
