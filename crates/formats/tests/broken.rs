//! Broken files: each row breaks a small file in one way and names a part of the error it must give.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it did and may fail"
)]

use std::{borrow::Cow, fmt::Write as _, path::Path};

use brisk_formats::GgufFile;

/// A GGUF file that may be wrong in any way. `Raw::default()` is right: two keys, two tensors.
struct Raw {
    magic: Vec<u8>,
    version: u32,
    num_tensors: Option<u64>,
    num_keys: Option<u64>,
    keys: Vec<Vec<u8>>,
    tensors: Vec<RawTensor>,
    alignment: usize,
    data: Vec<u8>,
}

struct RawTensor {
    name: Vec<u8>,
    num_dims: Option<u32>,
    dims: Vec<u64>,
    type_id: u32,
    offset: u64,
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn key(name: &str, type_id: u32, value: &[u8]) -> Vec<u8> {
    [&string(name.as_bytes()), &type_id.to_le_bytes()[..], value].concat()
}

fn array(name: &str, element_type: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    key(name, 9, &[&element_type.to_le_bytes(), &len.to_le_bytes()[..], elements].concat())
}

fn tensor(name: &str, dims: &[u64], type_id: u32, offset: u64) -> RawTensor {
    RawTensor { name: name.into(), num_dims: None, dims: dims.to_vec(), type_id, offset }
}

const F32: u32 = 0;
const Q4_K: u32 = 12;

impl Default for Raw {
    fn default() -> Self {
        Self {
            magic: b"GGUF".to_vec(),
            version: 3,
            num_tensors: None,
            num_keys: None,
            keys: vec![
                key("general.architecture", 8, &string(b"llama")),
                array("tokens", 8, 2, &[string(b"<s>"), string(b"a")].concat()),
            ],
            tensors: vec![tensor("a", &[256, 2], Q4_K, 0), tensor("b", &[2, 2], F32, 288)],
            alignment: 32,
            data: vec![7; 304],
        }
    }
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.clone();
        out.extend(self.version.to_le_bytes());
        out.extend(self.num_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.num_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        self.keys.iter().for_each(|it| out.extend(it));
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend(tensor.num_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|it| out.extend(it.to_le_bytes()));
            out.extend(tensor.type_id.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out.extend(&self.data);
        out
    }
}

fn read(bytes: Vec<u8>) -> Result<GgufFile, brisk_formats::Error> {
    GgufFile::from_bytes(Cow::Owned(bytes))
}

#[test]
fn the_file_that_the_rows_break_is_whole() {
    for version in [2, 3] {
        let file = read(Raw { version, ..Raw::default() }.bytes()).unwrap();
        assert_eq!((file.version(), file.tensors().len()), (version, 2));
        assert_eq!(file.data(&file.tensors()[1]), [7; 16]);
    }
}

#[test]
fn files_that_are_odd_but_right_are_read() {
    let check = |name: &str, change: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::default();
        change(&mut raw);
        if let Err(error) = read(raw.bytes()) {
            panic!("{name}: {error}");
        }
    };
    check("nothing but the header", &|it| {
        it.keys.clear();
        it.tensors.clear();
        it.data.clear();
    });
    check("another alignment", &|it| {
        it.keys.push(key("general.alignment", 4, &64u32.to_le_bytes()));
        it.alignment = 64;
        it.tensors[1].offset = 320;
        it.data.resize(336, 0);
    });
    check("a gap between tensors", &|it| {
        it.tensors[1].offset = 1024;
        it.data.resize(2048, 0);
    });
    check("tensors in another order than their data", &|it| it.tensors.swap(0, 1));
    check("a name of 64 bytes", &|it| it.tensors[0].name = vec![b'n'; 64]);
    check("an empty array", &|it| it.keys.push(array("none", 8, 0, b"")));
    check("split.count of 1", &|it| it.keys.push(key("split.count", 2, &1u16.to_le_bytes())));
}

#[test]
fn a_broken_file_is_refused_with_the_field_and_the_offset() {
    let check = |name: &str, expected: &str, change: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::default();
        change(&mut raw);
        let error = read(raw.bytes()).expect_err(name).to_string();
        assert!(error.contains(expected), "{name}: {error:?} does not contain {expected:?}");
    };
    let key_at = 24;
    let new_key = key_at + Raw::default().keys.concat().len();
    let tensor_at = new_key;

    check("other magic", "begins with \"GGML\"", &|it| it.magic = b"GGML".to_vec());
    check("a zip file", "begins with \"PK\\x03\\x04\"", &|it| it.magic = b"PK\x03\x04".to_vec());
    check("swapped magic", "big-endian", &|it| it.magic = b"FUGG".to_vec());
    check("swapped version", "big-endian", &|it| it.version = 3u32.swap_bytes());
    for version in [0, 1, 4, 1 << 31, u32::MAX] {
        let expected = format!("version at byte 4 is {version}, versions 2 and 3 are read");
        check("version", &expected, &|it| it.version = version);
    }

    for count in [1 << 63, u64::MAX, 1 << 32, 40] {
        let expected = format!("tensor count at byte 8 is {count}, the rest");
        check("tensor count", &expected, &|it| it.num_tensors = Some(count));
        let expected = format!("key count at byte 16 is {count}, the rest");
        check("key count", &expected, &|it| it.num_keys = Some(count));
    }
    check("a tensor too many", "name of tensor 2", &|it| {
        it.num_tensors = Some(3);
        it.data.clear();
    });

    for length in [1u64 << 63, u64::MAX, 1 << 20] {
        let at = new_key + 8;
        check("key length", &format!("key 2 at byte {at} needs {length} bytes"), &|it| {
            it.keys.push([&length.to_le_bytes()[..], b"key"].concat());
        });
        let at = new_key + 8 + 1 + 4 + 8;
        check("string", &format!("value of \"k\" at byte {at} needs {length} bytes"), &|it| {
            it.keys.push(key("k", 8, &length.to_le_bytes()));
        });
        let expected = format!("length of \"k\" at byte {} is {length}", at - 4);
        for element_type in [0, 4, 7, 8, 10] {
            check("array", &expected, &|it| it.keys.push(array("k", element_type, length, b"")));
        }
        check("element", "element 0 of \"k\" at byte", &|it| {
            it.keys.push(array("k", 8, 1, &length.to_le_bytes()));
        });
    }
    check("an array whose size overflows", "length of \"k\"", &|it| {
        it.keys.push(array("k", 10, (1 << 61) + 1, &[0; 8]));
    });
    check("array of arrays", "\"k\" at byte 132 is an array of arrays", &|it| {
        it.keys.push(array("k", 9, 1, &[0; 12]));
    });
    for id in [13, 255, u32::MAX] {
        check("value type", &format!("value type of \"k\" at byte 128 is {id}"), &|it| {
            it.keys.push(key("k", id, b"\0"));
        });
        check("element type", &format!("value type of \"k\" at byte 132 is {id}"), &|it| {
            it.keys.push(array("k", id, 1, b"\0"));
        });
    }
    check("a bool of 2", "value of \"k\" at byte 132 is 2, a truth value", &|it| {
        it.keys.push(key("k", 7, b"\x02"));
    });
    check("a bool of 3 in an array", "element of \"k\" at byte 145 is 3", &|it| {
        it.keys.push(array("k", 7, 2, b"\x01\x03"));
    });
    check("empty key", "key 2 at byte 119 has 0 bytes", &|it| it.keys.push(key("", 0, b"\0")));
    check("long key", "key 2 at byte 119 has 65536 bytes", &|it| {
        it.keys.push(key(&"k".repeat(1 << 16), 0, b"\0"));
    });
    check("key twice", "key \"tokens\" at byte 119 appears twice", &|it| {
        it.keys.push(key("tokens", 0, b"\0"));
    });
    check("key that is not UTF-8", "key 2 at byte 127 is not UTF-8", &|it| {
        it.keys.push([string(b"\xff"), vec![0; 5]].concat());
    });
    check("string that is not UTF-8", "value of \"k\" at byte 140 is not UTF-8", &|it| {
        it.keys.push(key("k", 8, &string(b"a\xc3")));
    });

    for value in [0u32, 1, 3, 33, 1 << 31, u32::MAX] {
        check("alignment", &format!("general.alignment is {value}, it must be"), &|it| {
            it.keys.push(key("general.alignment", 4, &value.to_le_bytes()));
        });
    }
    check("alignment as i32", "\"general.alignment\" is of type i32", &|it| {
        it.keys.push(key("general.alignment", 5, &32i32.to_le_bytes()));
    });
    check("alignment as text", "\"general.alignment\" is of type string", &|it| {
        it.keys.push(key("general.alignment", 8, &string(b"32")));
    });
    check("split.count as text", "\"split.count\" is of type string", &|it| {
        it.keys.push(key("split.count", 8, &string(b"2")));
    });
    check("a shard alone", "one of 3 shards", &|it| {
        it.keys.push(key("split.count", 2, &3u16.to_le_bytes()));
    });

    let at = |offset: usize| tensor_at + offset;
    check("no name", &format!("name of tensor 0 at byte {tensor_at} has 0 bytes"), &|it| {
        it.tensors[0].name.clear();
    });
    check("long name", "name of tensor 0 at byte 119 has 65 bytes, 1 to 64", &|it| {
        it.tensors[0].name = vec![b'n'; 65];
    });
    check("name that is not UTF-8", "name of tensor 0 at byte 127 is not UTF-8", &|it| {
        it.tensors[0].name = vec![0xff];
    });
    check("name twice", &format!("tensor \"a\" at byte {} appears twice", at(41)), &|it| {
        it.tensors[1].name = b"a".to_vec();
    });
    for num_dims in [0, 5, 255, u32::MAX] {
        let expected = format!("number of dimensions of tensor \"a\" at byte 128 is {num_dims}");
        check("dimensions", &expected, &|it| it.tensors[0].num_dims = Some(num_dims));
    }
    let shapes: [(&[u64], &str); 9] = [
        (&[0, 2], "a dimension is 0"),
        (&[256, 0], "a dimension is 0"),
        (&[0, u64::MAX], "a dimension is 0"),
        (&[1 << 63, 2], "size overflows"),
        (&[256, u64::MAX], "size overflows"),
        (&[1 << 32, 1 << 32], "size overflows"),
        (&[1 << 32, 1 << 31, 1 << 2], "size overflows"),
        (&[257, 2], "\"a\" has rows of 257, Q4_K packs 256"),
        (&[32, 16], "\"a\" has rows of 32, Q4_K packs 256"),
    ];
    for (shape, expected) in shapes {
        check("shape", expected, &|it| it.tensors[0].dims = shape.to_vec());
    }
    check("shape offset", "shape of tensor \"a\" at byte 132 is [256, 0]", &|it| {
        it.tensors[0].dims[1] = 0;
    });
    for (id, name) in [(4, "Q4_2"), (9, "Q8_1"), (16, "IQ2_XXS"), (26, "I32"), (39, "MXFP4")] {
        check("type", &format!("type of tensor \"a\" at byte 148 is {name}"), &|it| {
            it.tensors[0].type_id = id;
        });
    }
    for id in [1000, 1 << 31, u32::MAX] {
        check("type", &format!("type of tensor \"a\" at byte 148 is {id}, which is"), &|it| {
            it.tensors[0].type_id = id;
        });
    }
    for offset in [1, 16, 287, u64::MAX] {
        check("misaligned", &format!("\"b\" begins {offset} bytes into the data, no"), &|it| {
            it.tensors[1].offset = offset;
        });
    }
    check("overlap", "\"b\" at byte 480 overlaps tensor \"a\", which ends at byte 512", &|it| {
        it.tensors[1].offset = 256;
    });
    check("the same place", "overlaps", &|it| it.tensors[1].offset = 0);
    for offset in [320, 1 << 40, u64::MAX - 31, u64::MAX - 223] {
        check("beyond the end", "of tensor \"b\" at byte", &|it| it.tensors[1].offset = offset);
    }
    check("data one byte short", "has 16 bytes, the file ends at byte 527", &|it| {
        it.data.pop();
    });
    check("a tensor larger than the file", "data of tensor \"a\" at byte 224 has", &|it| {
        it.tensors[0].dims[1] = 1 << 30;
    });
    check("no data", "the file ends at byte 224", &|it| it.data.clear());
}

#[test]
fn every_truncation_is_refused() {
    let whole = Raw::default().bytes();
    for len in 0..whole.len() {
        let error = read(whole[..len].to_vec()).expect_err("a truncated file").to_string();
        assert!(error.contains("byte"), "{len}: {error}");
    }
    let error = |bytes: &[u8]| read(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(error(b""), "magic at byte 0 needs 4 bytes, the file has 0 left");
    assert_eq!(error(b"GGU"), "magic at byte 0 needs 4 bytes, the file has 3 left");
    assert_eq!(error(b"GGUF"), "version at byte 4 needs 4 bytes, the file has 0 left");
}

/// The xorshift64* generator (Vigna 2016): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

#[test]
fn random_damage_never_panics_and_never_reads_outside() {
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    let whole = Raw::default().bytes();
    let header = whole.len() - 304;
    let interesting = [0u64, 1, 255, 1 << 31, u64::from(u32::MAX), 1 << 62, 1 << 63, u64::MAX];
    let mut accepted = 0;
    for case in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(header);
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                _ => {
                    let value = interesting[random.below(interesting.len())].to_le_bytes();
                    bytes[at..at + 8].copy_from_slice(&value);
                }
            }
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let len = bytes.len();
        // A panic here fails the test; the seed and the case number lead back to it.
        if let Ok(file) = read(bytes) {
            accepted += 1;
            let mut touched = 0;
            for tensor in file.tensors() {
                touched += file.data(tensor).len();
                assert_eq!(
                    Some(file.data(tensor).len()),
                    tensor.tensor_type.row_bytes(tensor.cols()).map(|it| it * tensor.rows()),
                    "seed {seed:#x}, case {case}"
                );
            }
            assert!(touched <= len, "seed {seed:#x}, case {case}");
            let mut text = String::new();
            file.metadata().iter().for_each(|(k, v)| write!(text, "{k}={v}").unwrap());
        }
    }
    assert!(accepted > 100, "damage to names and values leaves files that can be read");
}

#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let check = |path: &Path, expected: &str| {
        let error = GgufFile::open(path).expect_err("not a file").to_string();
        assert!(error.contains(expected), "{error}");
    };
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), "is a folder, not a file");
    check(&folder.path().join("none.gguf"), "cannot open");
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, b"").unwrap();
    check(&empty, "magic at byte 0 needs 4 bytes");
    #[cfg(unix)]
    {
        check(Path::new("/dev/random"), "is a device, not a file");
        let pipe = folder.path().join("pipe.gguf");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if made.is_ok_and(|it| it.success()) {
            check(&pipe, "is a pipe, not a file");
        } else {
            eprintln!("SKIPPED: the pipe, mkfifo is not here");
        }
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        check(&socket, "is a socket, not a file");
    }
}

/// Writes the shards of one model, `change` them, and opens one of them.
fn open_split(
    change: impl Fn(usize, &mut Raw),
    files: &[&str],
    opened: &str,
) -> Result<GgufFile, String> {
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in files.iter().enumerate() {
        let tensors = vec![tensor(&format!("t{number}"), &[4], F32, 0)];
        let mut raw = Raw { tensors, data: vec![number as u8; 16], ..Raw::default() };
        raw.keys.push(key("split.count", 2, &(files.len() as u16).to_le_bytes()));
        raw.keys.push(key("split.no", 2, &(number as u16).to_le_bytes()));
        raw.keys.push(key("split.tensors.count", 5, &(files.len() as i32).to_le_bytes()));
        change(number, &mut raw);
        std::fs::write(folder.path().join(name), raw.bytes()).unwrap();
    }
    GgufFile::open(&folder.path().join(opened)).map_err(|it| it.to_string())
}

#[test]
fn a_split_model_is_read_from_all_its_shards_or_refused() {
    let files = ["m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"];
    for opened in files {
        let file = open_split(|_, _| {}, &files, opened).unwrap();
        assert_eq!((file.num_shards(), file.tensors().len()), (3, 3));
        for number in 0..3 {
            let tensor = file.tensor(&format!("t{number}")).unwrap();
            assert_eq!(file.data(tensor), [number as u8; 16]);
            assert_eq!(&*file.map_data(tensor).unwrap(), [number as u8; 16]);
        }
    }

    let check = |expected: &str, files: &[&str; 3], change: &dyn Fn(usize, &mut Raw)| {
        let error = open_split(change, files, files[0]).expect_err(expected);
        assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
    };
    let keep = |_: usize, _: &mut Raw| {};
    let replace = |which: usize, key: Vec<u8>| {
        move |number: usize, raw: &mut Raw| {
            let name = key[..key[0] as usize + 8].to_vec();
            if number == which {
                raw.keys.retain(|it| !it.starts_with(&name));
                raw.keys.push(key.clone());
            }
        }
    };
    check("m-00002-of-00003.gguf: cannot open", &[files[0], "gone.gguf", files[2]], &keep);
    check("must end in \"-00001-of-00003.gguf\"", &["m.gguf", files[1], files[2]], &keep);
    check("name says 2", &["m-00001-of-00002.gguf", files[1], files[2]], &keep);
    check(
        "\"split.no\" is 7, the file's name says 1",
        &files,
        &replace(1, key("split.no", 2, &[7, 0])),
    );
    check("\"split.count\" is 9", &files, &replace(2, key("split.count", 2, &[9, 0])));
    check(
        "split.tensors.count is 4, the 3 shards hold 3",
        &files,
        &replace(0, key("split.tensors.count", 5, &[4, 0, 0, 0])),
    );
    check("tensor \"t0\" at byte 0 appears twice", &files, &|number, raw| {
        if number == 2 {
            raw.tensors[0].name = b"t0".to_vec();
        }
    });
    check("shard ", &files, &|number, raw| {
        if number == 1 {
            raw.magic = b"XXXX".to_vec();
        }
    });
}
