//! Finds devices by name.

use std::sync::LazyLock;
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, Device, Host, SampleFormat, StreamConfig};
use vox_frame::{Channels, Rate};

use crate::health::Upset;
use crate::open::{Number, Refusal, Running};
use crate::output::Drain;
use crate::{Error, quiet};

/// Which way the samples go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A microphone.
    Input,
    /// A loudspeaker.
    Output,
}

impl Direction {
    const fn noun(self) -> &'static str {
        match self {
            Self::Input => "microphone",
            Self::Output => "loudspeaker",
        }
    }
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What to call it by on a command line, such as `alsa:default`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Whether it is the one that is taken when none is named.
    pub default: bool,
}

/// What is asked of a device.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The audio system, such as `alsa`.
    pub host: String,
    /// Id or name of the device; none for the default one.
    pub device: Option<String>,
    /// Samples a second.
    pub rate: Rate,
    /// Channels.
    pub channels: Channels,
    /// Frames of a callback that are asked for; devices do as they like.
    pub period: u32,
    /// Whether the threads of the device may ask to be run before others.
    pub realtime: bool,
}

/// How a stream is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rate: Rate,
    pub(crate) channels: Channels,
    /// Frames that are moved at a time.
    pub(crate) period: u32,
    /// Whether its threads ask to be run before others.
    pub(crate) realtime: bool,
}

/// The audio systems that this program knows.
pub fn hosts() -> Vec<&'static str> {
    static NAMES: LazyLock<Vec<String>> =
        LazyLock::new(|| cpal::ALL_HOSTS.iter().map(|id| id.name().to_lowercase()).collect());
    NAMES.iter().map(String::as_str).collect()
}

/// The devices of an audio system.
///
/// # Errors
/// When there is no such system, or it does not answer.
pub fn list(host: &str, direction: Direction) -> Result<Vec<Listed>, Error> {
    let host = open_host(host)?;
    let devices = host.devices().map_err(|error| Error::new(format!("the devices cannot be listed: {error}")))?;
    let default = default_of(&host, direction).and_then(|device| device.id().ok());
    let fits = |device: &Device| match direction {
        Direction::Input => device.supports_input(),
        Direction::Output => device.supports_output(),
    };
    let listed = devices.filter(fits).filter_map(|device| {
        let id = device.id().ok()?;
        let name = device.description().map_or_else(|_| id.to_string(), |description| description.name().to_owned());
        Some(Listed { default: default.as_ref() == Some(&id), id: id.to_string(), name })
    });
    Ok(listed.collect())
}

fn open_host(name: &str) -> Result<Host, Error> {
    quiet::silence_alsa();
    let id = cpal::ALL_HOSTS.iter().find(|id| id.name().eq_ignore_ascii_case(name));
    let id = id.ok_or_else(|| {
        Error::new(format!("there is no audio system \"{name}\" in this program (it has {})", hosts().join(", ")))
    })?;
    cpal::host_from_id(*id).map_err(|error| Error::new(format!("the audio system {name} cannot be used: {error}")))
}

fn default_of(host: &Host, direction: Direction) -> Option<Device> {
    match direction {
        Direction::Input => host.default_input_device(),
        Direction::Output => host.default_output_device(),
    }
}

/// A device that was found, and how its stream is to be opened.
pub(crate) struct Selected {
    device: Device,
    /// What to call it in messages.
    pub(crate) name: String,
    shape: Shape,
}

impl Selected {
    pub(crate) fn find(wanted: &Wanted, direction: Direction) -> Result<Self, Error> {
        let noun = direction.noun();
        let (host_name, asked) = match wanted.device.as_deref().and_then(|name| name.split_once(':')) {
            Some((host, _)) if hosts().contains(&host) => (host, wanted.device.as_deref()),
            _ => (wanted.host.as_str(), wanted.device.as_deref()),
        };
        let host = open_host(host_name)?;
        let (device, name) = match asked {
            None => {
                let device = default_of(&host, direction).ok_or_else(|| Error::new(format!("there is no {noun}")))?;
                (device, format!("the default {noun}"))
            }
            Some(asked) => {
                let device = named(&host, host_name, asked);
                (device.ok_or_else(|| Error::new(format!("there is no {noun} \"{asked}\"")))?, asked.to_owned())
            }
        };
        let Wanted { rate, channels, period, realtime, .. } = *wanted;
        Ok(Self { device, name, shape: Shape { rate, channels, period, realtime } })
    }

    /// Asks for callbacks of so many frames.
    pub(crate) fn ask_for(&mut self, period: u32) {
        self.shape.period = period;
    }

    /// Starts the stream of a microphone: `data` is told how old the first frame is, in ns.
    pub(crate) fn input<T: Number>(
        &self,
        mut data: impl FnMut(&[T], i64) + Send + 'static,
        upset: impl Fn(Upset) + Send + 'static,
    ) -> Result<Running, Refusal> {
        #[cfg(target_os = "linux")]
        if let Some(name) = self.alsa_name() {
            return Ok(Box::new(crate::alsa::record(&name, &self.shape, data, upset)?));
        }
        let data = move |samples: &[T], info: &cpal::InputCallbackInfo| {
            let stamps = info.timestamp();
            data(samples, ns(stamps.callback.saturating_duration_since(stamps.capture)));
        };
        let stream = self.device.build_input_stream(self.config(), data, move |error| upset(error.into()), None)?;
        stream.play()?;
        Ok(Box::new(stream))
    }

    /// Starts the stream of a loudspeaker.
    pub(crate) fn output<T: Number>(
        &self,
        mut drain: Drain,
        upset: impl Fn(Upset) + Send + 'static,
    ) -> Result<Running, Refusal> {
        #[cfg(target_os = "linux")]
        if let Some(name) = self.alsa_name() {
            let direct = <T as cpal::SizedSample>::FORMAT == SampleFormat::F32 && self.shape.channels.count() <= 2;
            let link = (direct && crate::pulse::place::is_plain(&name)).then(|| crate::pulse::Link::open(&self.shape));
            // Where the sound server does not take it, its plugin may know how.
            if let Some(Ok(link)) = link {
                return Ok(Box::new(crate::pulse::Player::new(link, &self.shape, drain, upset)));
            }
            return Ok(Box::new(crate::alsa::play::<T>(&name, &self.shape, drain, upset)?));
        }
        let data = move |samples: &mut [T], info: &cpal::OutputCallbackInfo| {
            let stamps = info.timestamp();
            drain.answer(samples, ns(stamps.playback.saturating_duration_since(stamps.callback)));
        };
        let stream = self.device.build_output_stream(self.config(), data, move |error| upset(error.into()), None)?;
        stream.play()?;
        Ok(Box::new(stream))
    }

    /// What ALSA calls it, where it is one of ALSA's.
    #[cfg(target_os = "linux")]
    fn alsa_name(&self) -> Option<String> {
        self.device.id().ok()?.to_string().strip_prefix("alsa:").map(str::to_owned)
    }

    fn config(&self) -> StreamConfig {
        StreamConfig {
            channels: self.shape.channels.count() as u16,
            sample_rate: self.shape.rate.hz(),
            buffer_size: BufferSize::Fixed(self.shape.period),
        }
    }
}

fn ns(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(0)
}

fn named(host: &Host, host_name: &str, asked: &str) -> Option<Device> {
    let id = if asked.contains(':') && asked.starts_with(host_name) {
        asked.to_owned()
    } else {
        format!("{host_name}:{asked}")
    };
    if let Some(device) = id.parse().ok().and_then(|id| host.device_by_id(&id)) {
        return Some(device);
    }
    host.devices()
        .ok()?
        .find(|device| device.description().is_ok_and(|description| description.name().eq_ignore_ascii_case(asked)))
}

/// The sample formats that are tried, best first: every device takes one of them.
pub(crate) const FORMATS: [SampleFormat; 3] = [SampleFormat::F32, SampleFormat::I16, SampleFormat::I32];
