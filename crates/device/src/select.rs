//! Finds devices by name.

use std::sync::LazyLock;

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{
    BufferSize, Device, Host, InputCallbackInfo, OutputCallbackInfo, SampleFormat, SizedSample, Stream, StreamConfig,
};
use vox_frame::{Channels, Rate};

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
    config: StreamConfig,
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
        let config = StreamConfig {
            channels: wanted.channels.count() as u16,
            sample_rate: wanted.rate.hz(),
            buffer_size: BufferSize::Fixed(wanted.period),
        };
        Ok(Self { device, name, config })
    }

    /// Asks for callbacks of so many frames.
    pub(crate) fn ask_for(&mut self, period: u32) {
        self.config.buffer_size = BufferSize::Fixed(period);
    }

    /// Makes the stream of a microphone.
    pub(crate) fn input<T: SizedSample>(
        &self,
        data: impl FnMut(&[T], &InputCallbackInfo) + Send + 'static,
        error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<Stream, cpal::Error> {
        self.device.build_input_stream(self.config, data, error, None)
    }

    /// Makes the stream of a loudspeaker.
    pub(crate) fn output<T: SizedSample>(
        &self,
        data: impl FnMut(&mut [T], &OutputCallbackInfo) + Send + 'static,
        error: impl FnMut(cpal::Error) + Send + 'static,
    ) -> Result<Stream, cpal::Error> {
        self.device.build_output_stream(self.config, data, error, None)
    }
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
