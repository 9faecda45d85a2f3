//! What a session description says of payload types.

use vox_frame::Codec;

use super::{Announcement, line};

impl Announcement {
    pub(super) fn write_payload_types(&self, text: &mut String) {
        let (mut known, mut blocks) = (0u128, Vec::new());
        let mut is_new = |number: u8| {
            let new = known & (1 << number) == 0;
            known |= 1 << number;
            new
        };
        for stream in &self.streams {
            let (number, mut block) = (stream.payload_type, String::new());
            if is_new(number) {
                line(&mut block, format_args!("rtpmap:{number} {}", stream.format));
                if stream.format.codec == Codec::Opus {
                    let stereo = u8::from(stream.stereo);
                    line(&mut block, format_args!("fmtp:{number} sprop-stereo={stereo};stereo={stereo}"));
                }
                blocks.push(std::mem::take(&mut block));
            }
            if let Some(events) = stream.events.filter(|number| is_new(*number)) {
                line(&mut block, format_args!("rtpmap:{events} telephone-event/{}", stream.format.clock.hz()));
                line(&mut block, format_args!("fmtp:{events} 0-16"));
                blocks.push(block);
            }
        }
        text.extend(blocks.into_iter().rev());
    }
}
