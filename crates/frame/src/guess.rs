//! Says what somebody piped in instead of a stream.

/// What `bytes`, the beginning of an input that is not a vox stream, look like, and what to do about it.
pub fn describe_foreign(bytes: &[u8]) -> String {
    let known: &[(&[u8], &str)] = &[
        (b"RIFF", "\"RIFF\": a WAV file? use vox-capture FILE"),
        (b"RF64", "\"RF64\": a large WAV file? use vox-capture FILE"),
        (b"OggS", "\"OggS\": an Ogg file? use vox-capture FILE"),
        (b"fLaC", "\"fLaC\": a FLAC file? use vox-capture FILE"),
        (b"ID3", "\"ID3\": an MP3 file? use vox-capture FILE"),
        (b".snd", "\".snd\": an AU file? convert it to WAV, then use vox-capture FILE"),
        (b"VOX", "\"VOX\" without its first byte: was it transferred as text?"),
        (b"v=0", "\"v=0\": a session description? use vox-recv --sdp FILE"),
        (b"\x1f\x8b", "gzip data: unpack it first"),
    ];
    for (magic, text) in known {
        if bytes.starts_with(magic) {
            return format!("it begins with {text}");
        }
    }
    let start = &bytes[..bytes.len().min(16)];
    if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        let text: String = start.iter().map(|&byte| char::from(byte)).collect();
        return format!("it begins with the text {:?}", text.trim_end());
    }
    let hex: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("it begins with the bytes {}; raw samples? use vox-capture - --raw s16le", hex.join(" "))
}
