//! Opens a device in the first way that it takes.

use cpal::{ErrorKind, FromSample, SampleFormat, SizedSample};

use crate::select::{Direction, FORMATS, Selected};
use crate::{Error, Wanted};

/// How often the callback that is asked for is doubled where a device refuses it as too small.
const DOUBLINGS: u32 = 4;

/// A running stream of one direction.
pub(crate) trait Opener: Sized {
    /// Opens and starts it with samples of type `T`.
    fn build<T>(wanted: &Wanted, selected: &Selected) -> Result<Self, cpal::Error>
    where
        T: SizedSample + FromSample<f32>,
        f32: FromSample<T>;
}

/// Tries the formats of samples, and larger callbacks where those that are wanted are refused.
pub(crate) fn open<O: Opener>(wanted: &Wanted, direction: Direction) -> Result<O, Error> {
    let mut selected = Selected::find(wanted, direction)?;
    let mut problem = None;
    for doubling in 0..=DOUBLINGS {
        selected.ask_for(wanted.period.saturating_mul(1 << doubling));
        for format in FORMATS {
            let opened = match format {
                SampleFormat::I16 => O::build::<i16>(wanted, &selected),
                SampleFormat::I32 => O::build::<i32>(wanted, &selected),
                _ => O::build::<f32>(wanted, &selected),
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(error) => {
                    let final_word = error.kind() != ErrorKind::UnsupportedConfig;
                    problem.get_or_insert(error);
                    if final_word {
                        return Err(refused(&selected, problem));
                    }
                }
            }
        }
    }
    Err(refused(&selected, problem))
}

fn refused(selected: &Selected, problem: Option<cpal::Error>) -> Error {
    let problem = problem.map_or_else(String::new, |error| error.to_string());
    Error::new(format!("{} cannot be opened: {problem}", selected.name))
}
