//! Lets clients of other programs into rooms.

mod args;
mod client;
mod ear;
mod house;
mod p2p;
mod speaker;
mod streamer;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use args::{Args, DialectArgs};
use client::{Desk, Dialect, serve};
use p2p::{Board, PeerToPeer};
use streamer::Streamer;
use vox_cli::{Failure, note, stop_requested, wait};
use vox_frame::Rate;
use vox_sys::tcp;

/// Makes the dialect of one more client.
type Make = Box<dyn Fn() -> Box<dyn Dialect + Send>>;

fn main() -> ExitCode {
    vox_cli::run(|args: Args| match args.dialect {
        DialectArgs::Tcpstreamer(args) => {
            let (server, room) = args.room;
            let make: Make = Box::new(move || Box::new(Streamer::new(room.clone(), args.name.clone())));
            admit(args.listen, &server, args.rate.0, args.max_clients, &make)
        }
        DialectArgs::P2p(args) => {
            let board = Arc::new(Board::default());
            let make: Make = Box::new(move || Box::new(PeerToPeer::new(Arc::clone(&board))));
            admit(args.listen, &args.server, args.rate.0, args.max_clients, &make)
        }
    })
}

/// Takes clients until a signal comes, a thread each.
fn admit(listen: SocketAddr, server: &str, rate: Rate, most: u16, make: &Make) -> Result<(), Failure> {
    let failed = |error| Failure::network(format_args!("cannot listen on {listen}: {error}"));
    let listener = tcp::listen(listen).map_err(failed)?;
    let count = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    note(format_args!("clients connect to {}", listener.local_addr().map_err(failed)?));
    while !stop_requested() {
        wait(Some(listener.as_fd()), None)?;
        threads.retain(|thread| !thread.is_finished());
        while let Some((stream, from)) = tcp::accept(&listener).map_err(failed)? {
            if count.load(Ordering::Relaxed) >= usize::from(most) {
                note(format_args!("{from} is one too many (--max-clients)"));
                continue;
            }
            let guest = Guest { stream, from, server: server.to_owned(), rate };
            let (count, dialect) = (Arc::clone(&count), make());
            count.fetch_add(1, Ordering::Relaxed);
            let thread = std::thread::Builder::new().name("client".to_owned()).spawn(move || {
                guest.entertain(dialect);
                count.fetch_sub(1, Ordering::Relaxed);
            });
            threads.push(thread.map_err(|error| Failure::failed(format_args!("cannot serve {from}: {error}")))?);
        }
    }
    for thread in threads {
        let _panicked = thread.join();
    }
    Ok(())
}

struct Guest {
    stream: TcpStream,
    from: SocketAddr,
    server: String,
    rate: Rate,
}

impl Guest {
    fn entertain(self, mut dialect: Box<dyn Dialect + Send>) {
        let from = self.from;
        note(format_args!("{from} is here"));
        let mut desk = Desk::new(self.stream, self.server, self.rate);
        let outcome = serve(&mut desk, dialect.as_mut());
        desk.leave();
        let lost =
            if desk.dropped > 0 { format!(", {} messages were too late for it", desk.dropped) } else { String::new() };
        match outcome {
            Ok(()) => note(format_args!("{from} is gone{lost}")),
            Err(error) => note(format_args!("{from} is gone: {error}{lost}")),
        }
    }
}
