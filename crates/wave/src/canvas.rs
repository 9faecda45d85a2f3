//! What pictures are drawn with: pixels (PNG) or paths (SVG).

use core::fmt::Write;

use font8x8::legacy::BASIC_LEGACY;

/// A colour: red, green, blue.
pub(crate) type Color = [u8; 3];

/// Something to draw on. Lengths are pixels from the upper left corner.
pub(crate) trait Canvas {
    /// A filled box.
    fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, color: Color);
    /// Vertical lines side by side from `x` on, each from its first to its second end, as one shape.
    fn strokes(&mut self, x: i32, ends: &[Option<(i32, i32)>], color: Color);
    /// Letters, the upper left corner of the first at `x`, `y`; each 8 pixels wide and high.
    fn text(&mut self, x: i32, y: i32, text: &str, color: Color);
    /// A picture, row by row.
    fn image(&mut self, x: i32, y: i32, width: i32, pixels: &[Color]);
}

/// Pixels.
pub(crate) struct Raster {
    width: i32,
    height: i32,
    pixels: Vec<u8>,
}

impl Raster {
    /// A white picture.
    pub(crate) fn new(width: i32, height: i32) -> Self {
        Self { width, height, pixels: vec![255; (width * height * 3) as usize] }
    }

    fn set(&mut self, x: i32, y: i32, color: Color) {
        if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
            let at = ((y * self.width + x) * 3) as usize;
            self.pixels[at..at + 3].copy_from_slice(&color);
        }
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// As the encoder says.
    pub(crate) fn png(&self) -> Result<Vec<u8>, String> {
        png_of(self.width, self.height, &self.pixels)
    }
}

fn png_of(width: i32, height: i32, pixels: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width.unsigned_abs(), height.unsigned_abs());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
    written.map_err(|error| error.to_string())?;
    Ok(out)
}

impl Canvas for Raster {
    fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, color: Color) {
        for row in y..y + height {
            for column in x..x + width {
                self.set(column, row, color);
            }
        }
    }

    fn strokes(&mut self, x: i32, ends: &[Option<(i32, i32)>], color: Color) {
        for (column, end) in (x..).zip(ends) {
            let Some((from, to)) = *end else { continue };
            self.fill(column, from, 1, to - from + 1, color);
        }
    }

    fn text(&mut self, x: i32, y: i32, text: &str, color: Color) {
        for (left, letter) in (x..).step_by(8).zip(text.chars()) {
            let glyph = BASIC_LEGACY.get(letter as usize).unwrap_or(&BASIC_LEGACY['?' as usize]);
            for (row, bits) in (y..).zip(glyph) {
                for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                    self.set(left + column, row, color);
                }
            }
        }
    }

    fn image(&mut self, x: i32, y: i32, width: i32, pixels: &[Color]) {
        for (row, line) in (y..).zip(pixels.chunks(width.max(1) as usize)) {
            for (column, color) in (x..).zip(line) {
                self.set(column, row, *color);
            }
        }
    }
}

/// Paths.
pub(crate) struct Svg {
    out: String,
}

impl Svg {
    /// A white picture.
    pub(crate) fn new(width: i32, height: i32) -> Self {
        let out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"11\" shape-rendering=\"crispEdges\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        Self { out }
    }

    /// The picture as a file.
    pub(crate) fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }

    fn write(&mut self, text: core::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a string takes every letter");
    }
}

fn hex([red, green, blue]: Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

impl Canvas for Svg {
    fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, color: Color) {
        let color = hex(color);
        self.write(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{color}\"/>\n"
        ));
    }

    fn strokes(&mut self, x: i32, ends: &[Option<(i32, i32)>], color: Color) {
        let color = hex(color);
        self.write(format_args!("<path stroke=\"{color}\" d=\""));
        for (column, end) in (x..).zip(ends) {
            let Some((from, to)) = *end else { continue };
            self.write(format_args!("M{column}.5 {from}v{}", to - from + 1));
        }
        self.out.push_str("\"/>\n");
    }

    fn text(&mut self, x: i32, y: i32, text: &str, color: Color) {
        let (color, text) = (hex(color), escape(text));
        self.write(format_args!("<text x=\"{x}\" y=\"{}\" fill=\"{color}\">{text}</text>\n", y + 9));
    }

    fn image(&mut self, x: i32, y: i32, width: i32, pixels: &[Color]) {
        let height = pixels.len() as i32 / width.max(1);
        let flat: Vec<u8> = pixels.iter().flatten().copied().collect();
        // A picture that cannot be made is left out: the axes still stand.
        let Ok(png) = png_of(width, height, &flat) else { return };
        let data = base64(&png);
        self.write(format_args!(
            "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{data}\"/>\n"
        ));
    }
}

/// Text that can stand in XML and HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// Bytes as text (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| u32::from(part.get(at).copied().unwrap_or(0));
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= part.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn what_lies_outside_the_picture_is_not_drawn() {
        let mut raster = Raster::new(10, 10);
        raster.fill(-5, -5, 100, 7, [1, 2, 3]);
        raster.text(6, 6, "wide", [0, 0, 0]);
        assert_eq!(raster.pixels[..3], [1, 2, 3]);
        assert!(raster.png().unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_label_is_text_and_no_markup() {
        let mut svg = Svg::new(10, 10);
        svg.text(0, 0, "<script>\"&", [0, 0, 0]);
        assert!(svg.finish().contains("&lt;script&gt;&quot;&amp;</text>"));
    }
}
