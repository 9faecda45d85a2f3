//! Sends the streams of a pipe as RTP over UDP or TCP.

mod again;
mod args;
mod cover;
mod describe;
mod ear;
mod lane;
mod lanes;
mod payload;
mod queue;
mod report;
mod stage;
mod stream;
mod tcp;
mod train;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use args::Args;
use describe::Notice;
use ear::{Ear, Listening, SharedControl};
use lanes::Lanes;
use report::Reporter;
use stage::Stage;
use stream::{Clocks, random};
use vox_cli::{Failure, Input, Output, Wake, stop_requested, wait};
use vox_rtp::{Control, ControlConfig};
use vox_sys::{Clock, pipe};

fn main() -> ExitCode {
    vox_cli::run(|args: Args| send(&args))
}

fn send(args: &Args) -> Result<(), Failure> {
    let lanes = Arc::new(Lanes::open(args)?);
    let voice = args.voice.open()?;
    let mut input = Input::stdin()?;
    let clock = Clock::own();
    let control = Control::new(clock.now(), reporting(args));
    let control = Arc::new(Mutex::new(control));
    let mut listening = listen(args, &lanes, &control, clock)?;
    let outcome = input.open().and_then(|_| {
        pipe::sharpen_timers();
        let notice = Notice::new(args, lanes.first_path(), u64::from(random()))?;
        let clocks = Clocks { stream: input.clock(), own: clock };
        Stage::new(args, &lanes, clocks, SharedControl::clone(&control), voice, notice).run(&mut input)
    });
    lanes.depart_now();
    if args.duplex && outcome.is_ok() && !stop_requested() {
        listening.said_all();
        while wait(Some(listening.ended().as_fd()), None)? == Wake::Deadline {}
    }
    let heard = listening.finish();
    input.verdict(outcome?, args.strict).and(heard)
}

fn reporting(args: &Args) -> ControlConfig {
    ControlConfig {
        ssrc: random(),
        // RFC 7022: a name of this run only, which tells nothing of the person.
        cname: format!("{:08x}{:08x}", random(), random()),
        bandwidth: args.bandwidth,
        interval_ns: args.rtcp_interval.ns(),
        answers: false,
        seed: u64::from(random()),
    }
}

/// Begins to hear what comes back.
fn listen(args: &Args, lanes: &Arc<Lanes>, control: &SharedControl, clock: Clock) -> Result<Listening, Failure> {
    let output = args.duplex.then(|| Output::stdout(clock.opening(), false)).transpose()?;
    let reporter = Reporter::new(args)?;
    Ear::new(args, Arc::clone(lanes), SharedControl::clone(control), clock, reporter, output).spawn()
}
