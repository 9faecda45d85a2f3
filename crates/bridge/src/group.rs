//! Those who listen in one codec, at one rate.

use std::collections::BTreeMap;

use vox_codec::{BlockEncoder, Effort};
use vox_dsp::Limiter;
use vox_frame::Codec;

use crate::config::{Config, Error, PersonId, Shape};

/// For how many blocks somebody's mix must have been the common one before he hears the common packets again: after a
/// second both encoders have heard the same for so long that they say the same.
const SAME_BLOCKS: u32 = 50;

/// The longest payload of what may be cut anywhere, in bytes.
const MAX_PAYLOAD: usize = 1200;

/// One sum on its way to packets.
struct Lane {
    limiter: Limiter,
    encoder: BlockEncoder,
    samples: Vec<f32>,
    payload: Vec<u8>,
}

impl Lane {
    fn new(shape: &Shape, config: &Config) -> Result<Self, Error> {
        let encoder = BlockEncoder::new(&shape.codec, shape.rate, shape.channels, &config.opus)?;
        let mut limiter = Limiter::new(shape.rate, shape.channels);
        // Its look-ahead is silence, so that every block that goes in gives one that comes out.
        let silence = vec![0.0; limiter.lookahead() * shape.channels.count()];
        limiter.process(&silence, &mut Vec::new());
        Ok(Self { limiter, encoder, samples: Vec::new(), payload: Vec::new() })
    }

    fn fork(&self) -> Result<Self, Error> {
        let (limiter, encoder) = (self.limiter.clone(), self.encoder.fork()?);
        Ok(Self { limiter, encoder, samples: Vec::new(), payload: Vec::new() })
    }

    /// The packet of a block; none where it cannot be encoded.
    fn encode(&mut self, sum: &[f64]) -> Option<&[u8]> {
        self.samples.clear();
        self.limiter.process(sum, &mut self.samples);
        self.payload.clear();
        self.encoder.encode(&self.samples, &mut self.payload).ok()?;
        Some(&self.payload)
    }
}

/// Somebody whose mix is not the common one.
struct Own {
    lane: Lane,
    /// For how many blocks it has been.
    same: u32,
}

/// Those who listen in one shape.
pub(crate) struct Group {
    shape: Shape,
    shared: Lane,
    listeners: BTreeMap<PersonId, Option<Own>>,
    /// Who hears the common packet of the block.
    together: Vec<PersonId>,
    sum: Vec<f64>,
}

impl Group {
    pub(crate) fn new(shape: Shape, config: &Config) -> Result<Self, Error> {
        let shared = Lane::new(&shape, config)?;
        Ok(Self { shape, shared, listeners: BTreeMap::new(), together: Vec::new(), sum: Vec::new() })
    }

    pub(crate) const fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn add(&mut self, who: PersonId) {
        self.listeners.entry(who).or_insert(None);
    }

    pub(crate) fn remove(&mut self, who: PersonId) {
        self.listeners.remove(&who);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Takes that much time for encoding from now on.
    pub(crate) fn set_effort(&mut self, effort: Effort) {
        let own = self.listeners.values_mut().flatten().map(|own| &mut own.lane);
        for lane in own.chain([&mut self.shared]) {
            // libopus takes every one of these values; one that it refused would leave it as it was.
            let _refused = lane.encoder.set_effort(effort);
        }
    }

    /// How many have an encoder of their own.
    pub(crate) fn own_encoders(&self) -> usize {
        self.listeners.values().filter(|own| own.is_some()).count()
    }

    /// Makes the packets of a block: of `total`, less what `minus` says for each. `out` gets whom a payload is for, how
    /// many frames into the block it begins, and the payload.
    pub(crate) fn encode<'a>(
        &mut self,
        total: &[f64],
        minus: impl Fn(PersonId) -> Option<&'a [&'a [f32]]>,
        out: &mut impl FnMut(&[PersonId], u64, &[u8]),
    ) {
        let Self { shape, shared, listeners, together, sum } = self;
        together.clear();
        for (who, own) in &mut *listeners {
            let without = minus(*who);
            match (&mut *own, without) {
                (None, None) => {
                    together.push(*who);
                    continue;
                }
                // Where there is no memory for one more encoder he hears nothing rather than himself.
                (None, Some(_)) => match shared.fork() {
                    Ok(lane) => *own = Some(Own { lane, same: 0 }),
                    Err(_) => continue,
                },
                (Some(own), None) => own.same += 1,
                (Some(own), Some(_)) => own.same = 0,
            }
            if own.as_ref().is_some_and(|own| own.same > SAME_BLOCKS) {
                *own = None;
                together.push(*who);
                continue;
            }
            sum.clear();
            sum.extend_from_slice(total);
            for block in without.unwrap_or_default() {
                sum.iter_mut().zip(*block).for_each(|(sum, sample)| *sum -= f64::from(*sample));
            }
            let packet = own.as_mut().and_then(|own| own.lane.encode(sum));
            if let Some(payload) = packet {
                cut(shape, payload, |at, part| out(&[*who], at, part));
            }
        }
        // Always, so that whoever leaves it takes up where it is.
        if let Some(payload) = shared.encode(total)
            && !together.is_empty()
        {
            cut(shape, payload, |at, part| out(together, at, part));
        }
    }
}

/// Cuts what is too long for a packet, where samples can be cut.
fn cut(shape: &Shape, payload: &[u8], mut out: impl FnMut(u64, &[u8])) {
    let frame = match shape.codec {
        Codec::L16 => 2 * shape.channels.count(),
        _ => return out(0, payload),
    };
    let parts = payload.len().div_ceil(MAX_PAYLOAD).max(1);
    let most = (payload.len() / frame).div_ceil(parts) * frame;
    let mut at = 0;
    for part in payload.chunks(most.max(frame)) {
        out(at, part);
        at += (part.len() / frame) as u64;
    }
}
