//! Reads a torch state dict of the legacy form (before torch 1.6, not a zip file).
//!
//! The format: a pickled magic number, a pickled protocol version, a pickled dict about the writing
//! system, the pickled state dict, a pickled list of storage keys, then for each key a count (i64)
//! and that many values. A tensor of the state dict only names its storage.
//!
//! candle's pickle machine turns a stream into data: a class stays a name, a call stays a pair of
//! name and arguments, and nothing is executed. Anything other than a plain f32 tensor is refused.
//! The hash of the bytes has been checked before.

use std::collections::BTreeMap;
use std::io::Cursor;

use candle_core::pickle::{Object, Stack};

use super::weights::{Array, Malformed, Weights};

/// The pickles of the magic number 0x1950a86a20f9469cfc6c and of protocol version 1001.
const HEADER: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";

/// A tensor in the state dict: a contiguous part of a storage.
struct Tensor {
    name: String,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
}

/// A storage in the state dict, without its values.
struct Storage {
    class: String,
    count: usize,
}

/// Reads the f32 tensors. Integer tensors (batch-norm's step counters) are not weights and are
/// skipped.
pub fn read(bytes: &[u8]) -> Result<Weights, Malformed> {
    if !bytes.starts_with(HEADER) {
        return Err(Malformed::Pickle("its first bytes are not a legacy file's".to_owned()));
    }
    let mut stream = Cursor::new(&bytes[HEADER.len()..]);

    let system = entries(load(&mut stream)?)?;
    let little_endian = (Object::Unicode("little_endian".to_owned()), Object::Bool(true));
    if !system.contains(&little_endian) {
        return Err(Malformed::Pickle("it was not written by a little-endian machine".to_owned()));
    }

    let mut tensors = Vec::new();
    let mut storages = BTreeMap::new();
    for (name, value) in entries(load(&mut stream)?)? {
        // The modules' version numbers are an attribute of the state dict.
        if name != Object::Unicode("_metadata".to_owned()) {
            let (tensor, storage) = tensor(name, value)?;
            storages.insert(tensor.storage.clone(), storage);
            tensors.push(tensor);
        }
    }

    let Object::List(keys) = load(&mut stream)? else {
        return Err(Malformed::Pickle("the storage keys are not a list".to_owned()));
    };
    let start = HEADER.len() + usize::try_from(stream.position()).unwrap_or(usize::MAX);
    let values = storage_values(keys, &storages, bytes.get(start..).unwrap_or_default())?;

    let mut weights = Weights::default();
    for Tensor { name, storage, offset, shape } in tensors {
        let Some(values) = values.get(&storage) else { continue };
        let count = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let end = count.and_then(|count| count.checked_add(offset)?.checked_mul(4));
        let part = end.and_then(|end| values.get(offset * 4..end));
        let part = part.ok_or_else(|| Malformed::Truncated(name.clone()))?;
        weights.insert(name.clone(), Array::from_le_bytes(&name, shape, part)?);
    }
    Ok(weights)
}

/// Extracts the bytes of each f32 storage from the data after the pickles.
fn storage_values<'a>(
    keys: Vec<Object>,
    storages: &BTreeMap<String, Storage>,
    mut rest: &'a [u8],
) -> Result<BTreeMap<String, &'a [u8]>, Malformed> {
    let mut values = BTreeMap::new();
    for key in keys {
        let key = key.unicode().map_err(|key| unexpected("a storage key", &key))?;
        let truncated = || Malformed::Truncated(format!("storage {key}"));
        let storage = storages
            .get(&key)
            .ok_or_else(|| Malformed::Pickle(format!("storage {key} belongs to no tensor")))?;
        let size = match storage.class.as_str() {
            "FloatStorage" => 4,
            "LongStorage" => 8,
            other => return Err(Malformed::Pickle(format!("a storage of the type {other}"))),
        };
        let (count, after) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        if usize::try_from(i64::from_le_bytes(*count)) != Ok(storage.count) {
            return Err(Malformed::Pickle(format!("storage {key} has two different lengths")));
        }
        let length = storage.count.checked_mul(size).ok_or_else(truncated)?;
        let (bytes, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        if size == 4 {
            values.insert(key, bytes);
        }
        rest = after;
    }
    if !rest.is_empty() {
        return Err(Malformed::Pickle(format!("{} bytes follow its end", rest.len())));
    }
    Ok(values)
}

/// Runs the machine to the end of one pickle.
fn load(stream: &mut Cursor<&[u8]>) -> Result<Object, Malformed> {
    let mut stack = Stack::empty();
    let read = stack.read_loop(stream).and_then(|()| stack.finalize());
    read.map_err(|error| Malformed::Pickle(error.to_string()))
}

fn entries(object: Object) -> Result<Vec<(Object, Object)>, Malformed> {
    object.dict().map_err(|object| unexpected("a dict", &object))
}

/// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`, where the storage
/// is the persistent id `("storage", class, key, device, count, view)`.
fn tensor(name: Object, value: Object) -> Result<(Tensor, Storage), Malformed> {
    let name = name.unicode().map_err(|name| unexpected("a tensor's name", &name))?;
    let refuse = || Malformed::Pickle(format!("{name} is not a plain tensor"));
    let (callable, arguments) = value.reduce().map_err(|_| refuse())?;
    let (module, function) = callable.class().map_err(|_| refuse())?;
    if (module.as_str(), function.as_str()) != ("torch._utils", "_rebuild_tensor_v2") {
        return Err(refuse());
    }
    let arguments = arguments.tuple().map_err(|_| refuse())?;
    let [Object::PersistentLoad(id), offset, shape, strides, ..] = arguments.as_slice() else {
        return Err(refuse());
    };
    let Object::Tuple(id) = id.as_ref() else { return Err(refuse()) };
    let [Object::Unicode(kind), class, Object::Unicode(key), _device, count, Object::None] =
        id.as_slice()
    else {
        return Err(refuse());
    };
    let (module, class) = class.clone().class().map_err(|_| refuse())?;
    if (kind.as_str(), module.as_str()) != ("storage", "torch") {
        return Err(refuse());
    }
    let number = |object: &Object| usize::try_from(object.clone()).map_err(|_| refuse());
    let numbers = |object: &Object| Vec::<usize>::try_from(object.clone()).map_err(|_| refuse());
    let shape = numbers(shape)?;
    if numbers(strides)? != row_major(&shape).ok_or_else(refuse)? {
        return Err(refuse());
    }
    let tensor =
        Tensor { storage: key.clone(), offset: number(offset)?, shape, name: name.clone() };
    Ok((tensor, Storage { class, count: number(count)? }))
}

fn row_major(shape: &[usize]) -> Option<Vec<usize>> {
    let mut stride = 1usize;
    let mut strides = Vec::with_capacity(shape.len());
    for &side in shape.iter().rev() {
        strides.push(stride);
        stride = stride.checked_mul(side)?;
    }
    strides.reverse();
    Some(strides)
}

fn unexpected(expected: &str, found: &Object) -> Malformed {
    let found: String = format!("{found:?}").chars().take(60).collect();
    Malformed::Pickle(format!("expected {expected}, found {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Vec<u8> {
        [b"X", (value.len() as u32).to_le_bytes().as_slice(), value.as_bytes()].concat()
    }

    /// Makes a file with one tensor `w` of 2×1 values; the file states `shape` and a storage of
    /// `count`.
    fn file(class: &str, shape: [u8; 2], count: u8, values: &[f32]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.extend([b"\x80\x02}".to_vec(), text("little_endian"), b"\x88s.".to_vec()].concat());
        bytes.extend(b"\x80\x02ccollections\nOrderedDict\n)R");
        bytes.extend(text("w"));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend([text("storage"), format!("ctorch\n{class}\n").into_bytes()].concat());
        bytes.extend([text("key"), text("cpu"), vec![b'K', count], b"NtQ".to_vec()].concat());
        bytes
            .extend([b'K', 0, b'K', shape[0], b'K', shape[1], 0x86, b'K', shape[1], b'K', 1, 0x86]);
        bytes.extend(b"\x89)tRs.");
        bytes.extend([b"\x80\x02]".to_vec(), text("key"), b"a.".to_vec()].concat());
        bytes.extend((values.len() as i64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    #[test]
    fn reads_a_tensor() {
        let mut weights = read(&file("FloatStorage", [2, 1], 2, &[1.5, -2.0])).unwrap();
        let tensor = weights.take("w").unwrap();
        assert_eq!((tensor.shape(), tensor.data()), ([2, 1].as_slice(), [1.5, -2.0].as_slice()));
        weights.finish().unwrap();
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = file("FloatStorage", [2, 1], 2, &[1.5, -2.0]);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} of {} bytes were accepted", whole.len());
        }
    }

    #[test]
    fn wrong_lengths_are_errors() {
        let short = read(&file("FloatStorage", [2, 2], 2, &[1.5, -2.0])).unwrap_err();
        assert!(matches!(short, Malformed::Truncated(_)), "{short}");
        let disputed = read(&file("FloatStorage", [2, 1], 3, &[1.5, -2.0])).unwrap_err();
        assert!(disputed.to_string().contains("two different lengths"), "{disputed}");
        let mut trailing = file("FloatStorage", [2, 1], 2, &[1.5, -2.0]);
        trailing.push(0);
        assert!(read(&trailing).unwrap_err().to_string().contains("follow its end"));
    }

    #[test]
    fn other_than_plain_f32_tensors_are_errors() {
        let double = read(&file("DoubleStorage", [2, 1], 2, &[1.5, -2.0])).unwrap_err();
        assert!(double.to_string().contains("DoubleStorage"), "{double}");
        let whole = file("FloatStorage", [2, 1], 2, &[1.5, -2.0]);
        let find = |part: &[u8]| whole.windows(part.len()).position(|w| w == part).unwrap();
        for (part, change) in [("_rebuild_tensor_v2", b'X'), ("storage", b'X'), ("torch\n", b'X')] {
            let mut other = whole.clone();
            other[find(part.as_bytes())] = change;
            assert!(read(&other).unwrap_err().to_string().contains("not a plain tensor"), "{part}");
        }
    }
}
