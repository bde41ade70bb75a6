//! Names for pictures: which pixels is this image.

use blake3::Hasher;
use files::hex;

/// The hash of a decoded picture, see [`pixels_hash`], in 64 lower-case hexadecimal digits.
pub type PixelHash = String;

/// The hash of a decoded picture. Each brightness (`0..=1`, row-major) becomes the whole number `w = round(65535 *
/// brightness)`. The hash is the BLAKE3 of the pixels, one byte `w / 257` each where 257 divides all of them (as in any
/// picture of 8 bits), little-endian `u16` otherwise; then height, width and the number of bytes to a pixel, each as
/// little-endian `u64`. The same picture has the same hash whatever lossless file it came from.
///
/// In Python, for 8 bits: `blake3(pixels.tobytes() + struct.pack("<3Q", height, width, 1))`.
pub fn pixels_hash(pixels: &[f32], height: usize, width: usize) -> PixelHash {
    hash_words(pixels, height, width, to_word)
}

/// [`pixels_hash`] of the picture whose brightness is each sample divided by 255.
pub fn bytes_hash(samples: &[u8], height: usize, width: usize) -> PixelHash {
    finish_pixels(Hasher::new().update(samples), height, width, 1)
}

/// [`pixels_hash`] of the picture whose brightness is the table's entry for each sample.
///
/// # Panics
/// A sample is beyond the end of the table.
pub fn words_hash(samples: &[u16], brightness: &[f32], height: usize, width: usize) -> PixelHash {
    let table: Vec<u16> = brightness.iter().copied().map(to_word).collect();
    hash_words(samples, height, width, |sample| table[usize::from(sample)])
}

/// A brightness of 16 bits.
fn to_word(brightness: f32) -> u16 {
    // Adding a half and truncating is rounding for non-negative numbers, and quicker than `round`.
    (brightness.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16
}

fn hash_words<T: Copy>(pixels: &[T], height: usize, width: usize, word: impl Fn(T) -> u16) -> PixelHash {
    /// What a value of 8 bits is multiplied by to be one of 16.
    const BYTE: u16 = 257;
    if pixels.iter().all(|&pixel| word(pixel).is_multiple_of(BYTE)) {
        hash_as(pixels, height, width, |pixel| [(word(pixel) / BYTE) as u8])
    } else {
        hash_as(pixels, height, width, |pixel| word(pixel).to_le_bytes())
    }
}

/// The hash of pixels of `N` bytes each.
fn hash_as<T: Copy, const N: usize>(
    pixels: &[T],
    height: usize,
    width: usize,
    bytes: impl Fn(T) -> [u8; N],
) -> PixelHash {
    /// Pixels that are hashed at once: with fewer, the hash cannot use the processor's vectors well.
    const CHUNK: usize = 1 << 14;
    let mut hasher = Hasher::new();
    let mut buffer = vec![[0; N]; CHUNK.min(pixels.len())];
    for chunk in pixels.chunks(CHUNK) {
        let buffer = &mut buffer[..chunk.len()];
        for (out, &pixel) in buffer.iter_mut().zip(chunk) {
            *out = bytes(pixel);
        }
        hasher.update(buffer.as_flattened());
    }
    finish_pixels(&mut hasher, height, width, N as u64)
}

fn finish_pixels(hasher: &mut Hasher, height: usize, width: usize, bytes_per_pixel: u64) -> PixelHash {
    for number in [height as u64, width as u64, bytes_per_pixel] {
        hasher.update(&number.to_le_bytes());
    }
    hex(hasher.finalize().as_bytes())
}

/// The first 64 bits of a [`PixelHash`], as a key: among a million images, two different ones have the same with a chance
/// of one in 37 million. Keys are ordered as the digits are; what is no hexadecimal digit counts as 0.
pub fn pixel_key(hash: &str) -> u64 {
    let digit = |digit: u8| u64::from(char::from(digit).to_digit(16).unwrap_or(0));
    let digits = hash.bytes().map(digit).chain(std::iter::repeat(0));
    digits.take(16).fold(0, |key, digit| key << 4 | digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_hashes_tell_shapes_and_values_apart() {
        let pixels = [0.0, 0.5, 1.0, 0.25, 0.5, 0.75];
        let hash = pixels_hash(&pixels, 2, 3);
        assert_eq!(hash.len(), 64);
        assert_ne!(hash, pixels_hash(&pixels, 3, 2));
        let mut other = pixels;
        other[1] += 1.0 / 65535.0;
        assert_ne!(hash, pixels_hash(&other, 2, 3));
        other[1] = 0.5 + 1e-7;
        assert_eq!(hash, pixels_hash(&other, 2, 3));
    }

    #[test]
    fn a_picture_has_one_hash_however_it_is_stored() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at * at / 7) as u8).collect();
        let hash = bytes_hash(&bytes, 200, 200);
        let pixels: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(hash, pixels_hash(&pixels, 200, 200));
        let words: Vec<u16> = bytes.iter().map(|&byte| u16::from(byte)).collect();
        let table: Vec<f32> = (0..256_u16).map(|value| f32::from(value) / 255.0).collect();
        assert_eq!(hash, words_hash(&words, &table, 200, 200));
        // One pixel between two bytes makes it another picture, of 16 bits.
        let (mut words, mut pixels) = (words, pixels);
        words[39_999] = 256;
        pixels[39_999] = 1000.0 / 65535.0;
        let table = [&table[..], &[1000.0 / 65535.0]].concat();
        let other = words_hash(&words, &table, 200, 200);
        assert_ne!(hash, other);
        assert_eq!(other, pixels_hash(&pixels, 200, 200));
    }

    #[test]
    fn pixel_hashes_are_what_other_programs_compute() {
        // Python: blake3(bytes([0, 51, 255]) + struct.pack("<3Q", 1, 3, 1)).hexdigest() and, of 16 bits,
        // blake3(struct.pack("<3H", 0, 1, 65535) + struct.pack("<3Q", 1, 3, 2)).hexdigest()
        assert_eq!(bytes_hash(&[0, 51, 255], 1, 3), "75a1822ffd3014fc06f895dd7154995955b9e8a53970e03712992d57eade444c");
        assert_eq!(
            pixels_hash(&[0.0, 1.0 / 65535.0, 1.0], 1, 3),
            "43206a1e0b7984ca071465cebdae67d7a6430dbb26821c7e6fdfca25b2932c96"
        );
    }

    #[test]
    fn pixel_keys_are_the_first_digits_of_the_hash() {
        assert_eq!(pixel_key(&format!("00ff10{}", "0".repeat(58))), 0x00ff_1000_0000_0000);
        assert_eq!([pixel_key("1"), pixel_key("")], [0x1000_0000_0000_0000, 0]);
        assert_ne!(pixel_key(&"1".repeat(64)), pixel_key(&"2".repeat(64)));
    }
}
