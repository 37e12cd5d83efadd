//! Picture files with the highest cost that their format allows: few bytes for many pixels, many
//! scans over the same pixels, sixteen bits instead of eight. Written bit by bit, because no
//! encoder makes them.
/// Bits, the highest first, as JPEG packs them.
#[derive(Default)]
struct JpegBits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl JpegBits {
    fn put(&mut self, bits: u32, count: u32) {
        for at in (0..count).rev() {
            self.held = self.held << 1 | bits >> at & 1;
            self.count += 1;
            if self.count == 8 {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        self.bytes.push(self.held as u8);
        if self.held as u8 == 0xFF {
            self.bytes.push(0);
        }
        (self.held, self.count) = (0, 0);
    }

    /// Fills the last byte with ones.
    fn end(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.put(1, 1);
        }
        self.bytes
    }
}

/// A JPEG without a meaningful picture.
#[derive(Clone)]
pub struct Jpeg {
    pub width: u32,
    pub height: u32,
    pub components: u32,
    /// The first component has twice the pixels of the others along both sides.
    pub subsampled: bool,
    /// Bytes between the first two bytes and the tables.
    pub ahead: Vec<u8>,
}

impl Jpeg {
    pub fn new(width: u32, height: u32, components: u32) -> Self {
        Self { width, height, components, subsampled: false, ahead: Vec::new() }
    }

    /// Returns the number of blocks of one component without subsampling.
    fn blocks(&self) -> u32 {
        self.width.div_ceil(8) * self.height.div_ceil(8)
    }

    fn head(&self, sof: u8) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        file.extend_from_slice(&self.ahead);
        push(&mut file, 0xDB, &[&[0][..], &[1; 64]].concat());
        // Codes 0, 10, 110 of DC: a difference of zero, one or two bits.
        push(&mut file, 0xC4, &huffman(0x00, &[0, 1, 2]));
        // Codes 0, 10, 110 of AC: one coefficient of ±1, end of block, end of a run of up to 32,767
        // blocks.
        push(&mut file, 0xC4, &huffman(0x10, &[0x01, 0x00, 0xE0]));
        let [h1, h0] = (self.height as u16).to_be_bytes();
        let [w1, w0] = (self.width as u16).to_be_bytes();
        let mut body = vec![8, h1, h0, w1, w0, self.components as u8];
        for component in 1..=self.components as u8 {
            let sampling = if self.subsampled && component == 1 { 0x22 } else { 0x11 };
            body.extend_from_slice(&[component, sampling, 0]);
        }
        push(&mut file, sof, &body);
        file
    }

    /// One scan with `coefficients` in every block; a restart marker after each `restart` MCUs.
    pub fn baseline(&self, coefficients: u32, restart: Option<u16>) -> Vec<u8> {
        let mut file = self.head(0xC0);
        if let Some(restart) = restart {
            push(&mut file, 0xDD, &restart.to_be_bytes());
        }
        sos(&mut file, 1..=self.components as u8, [0, 63, 0]);
        let (mcus, blocks) = match self.subsampled {
            true => (self.width.div_ceil(16) * self.height.div_ceil(16), self.components + 3),
            false => (self.blocks(), self.components),
        };
        let mut bits = JpegBits::default();
        for mcu in 0..mcus {
            for _ in 0..blocks {
                block(&mut bits, coefficients);
            }
            let restart = restart.map(u32::from).unwrap_or(u32::MAX);
            if (mcu + 1) % restart == 0 && mcu + 1 < mcus {
                file.extend(std::mem::take(&mut bits).end());
                file.extend_from_slice(&[0xFF, 0xD0 + (mcu / restart % 8) as u8]);
            }
        }
        end(file, bits)
    }

    /// `scans` scans of one component each.
    pub fn one_by_one(&self, scans: u32, coefficients: u32) -> Vec<u8> {
        let mut file = self.head(0xC0);
        for scan in 0..scans {
            let component = (scan % self.components) as u8 + 1;
            sos(&mut file, component..=component, [0, 63, 0]);
            let mut bits = JpegBits::default();
            (0..self.blocks()).for_each(|_| block(&mut bits, coefficients));
            file.extend(bits.end());
        }
        file.extend_from_slice(&[0xFF, 0xD9]);
        file
    }

    /// A scan of means, a scan with `coefficients` of each component, and refinements up to `scans`
    /// scans.
    pub fn progressive(&self, scans: u32, coefficients: u32) -> Vec<u8> {
        let mut file = self.head(0xC2);
        sos(&mut file, 1..=self.components as u8, [0, 0, 0]);
        let mut bits = JpegBits::default();
        (0..self.blocks() * self.components).for_each(|_| bits.put(0, 1));
        file.extend(bits.end());
        for scan in 1..scans {
            let component = (scan % self.components) as u8 + 1;
            let first = scan <= self.components;
            sos(&mut file, component..=component, [1, 63, if first { 0x01 } else { 0x10 }]);
            let mut bits = JpegBits::default();
            if first && coefficients > 0 {
                (0..self.blocks()).for_each(|_| ac(&mut bits, coefficients));
            } else {
                let mut left = self.blocks();
                while left > 0 {
                    // 2^14 blocks and 14 bits more of them.
                    let run = left.min(32_767);
                    if run >= 1 << 14 {
                        bits.put(0b110, 3);
                        bits.put(run - (1 << 14), 14);
                        (0..run).for_each(|_| bits.put(0, if first { 0 } else { coefficients }));
                        left -= run;
                    } else {
                        bits.put(0b10, 2);
                        bits.put(0, if first { 0 } else { coefficients });
                        left -= 1;
                    }
                }
            }
            file.extend(bits.end());
        }
        file.extend_from_slice(&[0xFF, 0xD9]);
        file
    }

    /// `scans` scans, each refining the means of all components by one bit.
    pub fn refined_means(&self, scans: u32) -> Vec<u8> {
        let mut file = self.head(0xC2);
        for scan in 0..scans {
            let depth = if scan == 0 { 0x01 } else { 0x10 };
            sos(&mut file, 1..=self.components as u8, [0, 0, depth]);
            let mut bits = JpegBits::default();
            (0..self.blocks() * self.components).for_each(|_| bits.put(0, 1));
            file.extend(bits.end());
        }
        file.extend_from_slice(&[0xFF, 0xD9]);
        file
    }
}

fn block(bits: &mut JpegBits, coefficients: u32) {
    bits.put(0, 1);
    ac(bits, coefficients);
}

fn ac(bits: &mut JpegBits, coefficients: u32) {
    (0..coefficients.min(63)).for_each(|at| bits.put(at & 1, 2));
    if coefficients < 63 {
        bits.put(0b10, 2);
    }
}

fn end(mut file: Vec<u8>, bits: JpegBits) -> Vec<u8> {
    file.extend(bits.end());
    file.extend_from_slice(&[0xFF, 0xD9]);
    file
}

fn sos(file: &mut Vec<u8>, components: std::ops::RangeInclusive<u8>, span: [u8; 3]) {
    let mut body = vec![components.clone().count() as u8];
    components.for_each(|component| body.extend_from_slice(&[component, 0]));
    body.extend_from_slice(&span);
    push(file, 0xDA, &body);
}

/// Codes of one, two and three bits.
fn huffman(place: u8, symbols: &[u8; 3]) -> Vec<u8> {
    [&[place, 1, 1, 1][..], &[0; 13], symbols].concat()
}

/// One JPEG segment.
pub fn push(file: &mut Vec<u8>, marker: u8, body: &[u8]) {
    file.extend_from_slice(&[0xFF, marker]);
    file.extend_from_slice(&(body.len() as u16 + 2).to_be_bytes());
    file.extend_from_slice(body);
}

/// The segment with the orientation; 5 mirrors and turns.
pub fn exif(orientation: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    push(&mut segment, 0xE1, &[b"Exif\0\0", &tiff(orientation)[..]].concat());
    segment
}

fn tiff(orientation: u8) -> Vec<u8> {
    let mut body = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    body.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0]);
    body
}

/// A black PNG.
#[derive(Clone)]
pub struct Png {
    pub width: u32,
    pub height: u32,
    pub depth: u8,
    /// 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.
    pub colour: u8,
    pub interlaced: bool,
    /// 0 none, 1 left, 2 up, 3 mean, 4 Paeth.
    pub filter: u8,
    pub orientation: u8,
    /// Compressed zeros after the pixels, or in the text chunk if there is one.
    pub bomb: u64,
    pub text_bomb: bool,
    /// Number of compressed texts that could hold an orientation.
    pub exif_bombs: usize,
}

impl Png {
    pub fn new(width: u32, height: u32, depth: u8, colour: u8) -> Self {
        Self {
            width,
            height,
            depth,
            colour,
            interlaced: false,
            filter: 4,
            orientation: 1,
            bomb: 0,
            text_bomb: false,
            exif_bombs: 0,
        }
    }

    pub fn file(&self) -> Vec<u8> {
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend_from_slice(&[self.depth, self.colour, 0, 0, self.interlaced.into()]);
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        chunk(&mut file, b"IHDR", &header);
        chunk(&mut file, b"eXIf", &tiff(self.orientation));
        if self.text_bomb {
            let mut zeros = Zeros::default();
            zeros.run(self.bomb);
            let text = [b"bomb\0\x01\0\0\0", &zeros.end()[..]].concat();
            chunk(&mut file, b"iTXt", &text);
        }
        for _ in 0..self.exif_bombs {
            let mut zeros = Zeros::default();
            zeros.run(self.bomb / 12);
            let text = [b"Raw profile type exif\0\0", &zeros.end()[..]].concat();
            chunk(&mut file, b"zTXt", &text);
        }
        if self.colour == 3 {
            chunk(&mut file, b"PLTE", &[7; 3 * 2]);
            chunk(&mut file, b"tRNS", &[9; 2]);
        }
        let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(self.colour)];
        let row = |pixels: u32| (u64::from(pixels) * channels * u64::from(self.depth)).div_ceil(8);
        let mut pixels = Zeros::default();
        let mut rows = |width: u32, height: u32| {
            for _ in 0..if width == 0 { 0 } else { height } {
                pixels.literal(self.filter);
                pixels.run(row(width));
            }
        };
        if self.interlaced {
            // First column and row of each pass, and the steps between.
            for [x, y, dx, dy] in [
                [0, 0, 8, 8],
                [4, 0, 8, 8],
                [0, 4, 4, 8],
                [2, 0, 4, 4],
                [0, 2, 2, 4],
                [1, 0, 2, 2],
                [0, 1, 1, 2],
            ] {
                let steps =
                    |side: u32, from: u32, step: u32| side.saturating_sub(from).div_ceil(step);
                rows(steps(self.width, x, dx), steps(self.height, y, dy));
            }
        } else {
            rows(self.width, self.height);
        }
        if !self.text_bomb && self.exif_bombs == 0 {
            pixels.run(self.bomb);
        }
        chunk(&mut file, b"IDAT", &pixels.end());
        chunk(&mut file, b"IEND", b"");
        file
    }
}

/// A zlib stream of zeros and a few other bytes, in one block with the fixed codes.
struct Zeros {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
    adler: [u64; 2],
}

impl Default for Zeros {
    fn default() -> Self {
        let mut zeros = Self { bytes: vec![0x78, 0x01], held: 0, count: 0, adler: [1, 0] };
        // Last block, fixed codes.
        zeros.put(0b011, 3);
        zeros
    }
}

impl Zeros {
    /// Adds bits, the lowest first.
    fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            (self.held, self.count) = (self.held >> 8, self.count - 8);
        }
    }

    /// Adds a byte below 144.
    fn literal(&mut self, byte: u8) {
        self.put(u64::from((0x30 + byte).reverse_bits()), 8);
        self.adler[0] = (self.adler[0] + u64::from(byte)) % 65_521;
        self.adler[1] = (self.adler[1] + self.adler[0]) % 65_521;
    }

    fn run(&mut self, mut length: u64) {
        if length == 0 {
            return;
        }
        self.literal(0);
        length -= 1;
        // 258 bytes from one byte back: codes 285 and 0.
        for _ in 0..length / 258 {
            self.put(u64::from(0xC5u8.reverse_bits()), 13);
        }
        self.adler[1] = (self.adler[1] + length / 258 * 258 * self.adler[0]) % 65_521;
        (0..length % 258).for_each(|_| self.literal(0));
    }

    fn end(mut self) -> Vec<u8> {
        self.put(0, 7);
        self.put(0, 7);
        let adler = (self.adler[1] << 16 | self.adler[0]) as u32;
        self.bytes.extend_from_slice(&adler.to_be_bytes());
        self.bytes
    }
}

/// Length, type, body, CRC-32.
fn chunk(file: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) {
    file.extend_from_slice(&(body.len() as u32).to_be_bytes());
    let from = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(body);
    let mut crc = u32::MAX;
    for &byte in &file[from..] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
        }
    }
    file.extend_from_slice(&(!crc).to_be_bytes());
}
