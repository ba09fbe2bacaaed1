//! What the writer writes, the reader reads: every value kind and every tensor type.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test says what it did and may fail"
)]

use std::borrow::Cow;

use brisk_formats::{Array, Error, GgufFile, GgufWriter, TensorType, Value};

fn values() -> Vec<(&'static str, Value)> {
    vec![
        ("u8", Value::U8(255)),
        ("i8", Value::I8(-128)),
        ("u16", Value::U16(65535)),
        ("i16", Value::I16(-32768)),
        ("u32", Value::U32(u32::MAX)),
        ("i32", Value::I32(i32::MIN)),
        ("f32", Value::F32(-0.25)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("Grüße, 世界".into())),
        ("empty string", Value::String(String::new())),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(1e300)),
        ("u8s", Value::Array(Array::U8(vec![1, 2, 3]))),
        ("i8s", Value::Array(Array::I8(vec![-1, 2]))),
        ("u16s", Value::Array(Array::U16(vec![1, 65535]))),
        ("i16s", Value::Array(Array::I16(vec![-1, 1]))),
        ("u32s", Value::Array(Array::U32(vec![7; 5]))),
        ("i32s", Value::Array(Array::I32(vec![-7; 5]))),
        ("f32s", Value::Array(Array::F32(vec![0.5, -0.5]))),
        ("bools", Value::Array(Array::Bool(vec![true, false]))),
        ("strings", Value::Array(Array::String(vec!["a".into(), String::new(), "Ġb".into()]))),
        ("u64s", Value::Array(Array::U64(vec![u64::MAX]))),
        ("i64s", Value::Array(Array::I64(vec![i64::MIN]))),
        ("f64s", Value::Array(Array::F64(vec![0.1]))),
        ("none", Value::Array(Array::String(Vec::new()))),
    ]
}

fn data(num_bytes: usize, seed: usize) -> Vec<u8> {
    (0..num_bytes).map(|i| (i * 31 + seed * 17) as u8).collect()
}

/// Writes every kind with `alignment` and reads it back.
fn check(alignment: Option<u32>) {
    let mut writer = GgufWriter::new();
    if let Some(alignment) = alignment {
        writer.add_metadata("general.alignment", Value::U32(alignment)).unwrap();
    }
    for (key, value) in values() {
        writer.add_metadata(key, value).unwrap();
    }
    let shape = [256, 3, 2];
    for (i, ty) in TensorType::ALL.into_iter().enumerate() {
        let bytes = data(ty.row_bytes(256).unwrap() * 6, i);
        writer.add_tensor(&format!("blk.{i}.weight"), &shape, ty, bytes).unwrap();
    }
    writer.add_tensor("odd", &[3], TensorType::F16, data(6, 99)).unwrap();
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.gguf");
    std::fs::write(&path, &bytes).unwrap();
    for file in [GgufFile::from_bytes(Cow::Owned(bytes)).unwrap(), GgufFile::open(&path).unwrap()] {
        assert_eq!(file.version(), 3);
        assert_eq!(file.alignment(), alignment.map_or(32, u64::from));
        assert_eq!(file.num_bytes(), std::fs::metadata(&path).unwrap().len());
        for (key, value) in values() {
            assert_eq!(file.metadata().get(key), Some(&value), "{key}");
        }
        assert_eq!(file.tensors().len(), TensorType::ALL.len() + 1);
        for (i, ty) in TensorType::ALL.into_iter().enumerate() {
            let tensor = file.tensor(&format!("blk.{i}.weight")).unwrap();
            assert_eq!((tensor.tensor_type, tensor.shape.as_slice()), (ty, &shape[..]));
            assert_eq!((tensor.rows(), tensor.cols(), tensor.num_values()), (6, 256, 1536));
            let expected = data(tensor.num_bytes(), i);
            assert_eq!(file.data(tensor), expected, "{ty}");
            assert_eq!(&*file.map_data(tensor).unwrap(), expected, "{ty}");
        }
        let odd = file.tensor("odd").unwrap();
        assert_eq!(file.data(odd), data(6, 99));
        assert!(file.tensor("even").is_none());
    }
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    check(None);
    check(Some(8));
    check(Some(4096));
}

#[test]
fn a_getter_takes_what_its_key_means_and_names_the_key_otherwise() {
    let mut writer = GgufWriter::new();
    for (key, value) in values() {
        writer.add_metadata(key, value).unwrap();
    }
    let mut bytes = Vec::new();
    writer.write_to(&mut bytes).unwrap();
    let file = GgufFile::from_bytes(Cow::Owned(bytes)).unwrap();
    let m = file.metadata();

    assert_eq!(m.u32("u8").unwrap(), Some(255));
    assert_eq!(m.u32("u16").unwrap(), Some(65535));
    assert_eq!(m.u64("u64").unwrap(), Some(u64::MAX));
    assert_eq!(m.usize("u32").unwrap(), Some(4_294_967_295));
    assert_eq!(m.f32("f32").unwrap(), Some(-0.25));
    assert_eq!(m.bool("bool").unwrap(), Some(true));
    assert_eq!(m.str("string").unwrap(), Some("Grüße, 世界"));
    assert_eq!(m.strings("strings").unwrap().unwrap().len(), 3);
    assert_eq!(m.f32s("f32s").unwrap().unwrap().as_ref(), [0.5, -0.5]);
    assert_eq!(m.i32s("i8s").unwrap().unwrap().as_ref(), [-1, 2]);
    assert_eq!(m.i32s("i32s").unwrap().unwrap().as_ref(), [-7; 5]);
    assert_eq!(m.usizes("u32s").unwrap().unwrap(), [7; 5]);
    assert_eq!(m.bools("bools").unwrap().unwrap(), [true, false]);
    assert_eq!(m.u32("absent").unwrap(), None);

    let refused = |result: Result<(), Error>, expected: &str| {
        assert_eq!(result.unwrap_err().to_string(), expected);
    };
    refused(
        m.u32("string").map(drop),
        "\"string\" is of type string, it must be a whole number from 0 to 4294967295",
    );
    refused(
        m.u32("i32").map(drop),
        "\"i32\" is -2147483648, it must be a whole number from 0 to 4294967295",
    );
    refused(m.str("f32s").map(drop), "\"f32s\" is an array of 2 f32, it must be a string");
    refused(m.bool("u8").map(drop), "\"u8\" is of type u8, it must be a bool");
    refused(m.usizes("i8s").map(drop), "\"i8s\" is -1, it must be a whole number, not negative");
    refused(m.require_str("absent").map(drop), "the file has no key \"absent\"");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let refused = |act: &dyn Fn(&mut GgufWriter<'_>) -> Result<(), Error>, expected: &str| {
        let mut writer = GgufWriter::new();
        writer.add_tensor("t", &[32], TensorType::Q8_0, vec![0; 34]).unwrap();
        writer.add_metadata("k", Value::Bool(true)).unwrap();
        let error = act(&mut writer).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let f32 = TensorType::F32;
    refused(&|it| it.add_metadata("k", Value::U8(1)), "\"k\" at byte 0 appears twice");
    refused(&|it| it.add_metadata("", Value::U8(1)), "has 0 bytes");
    refused(&|it| it.add_metadata("general.alignment", Value::U32(3)), "alignment is 3");
    refused(&|it| it.add_tensor("t", &[1], f32, vec![0; 4]), "\"t\" at byte 0 appears twice");
    refused(&|it| it.add_tensor(&"n".repeat(65), &[1], f32, vec![0; 4]), "has 65 bytes");
    refused(&|it| it.add_tensor("u", &[], f32, vec![]), "is 0, 1 to 4");
    refused(&|it| it.add_tensor("u", &[1; 5], f32, vec![0; 4]), "is 5, 1 to 4");
    refused(&|it| it.add_tensor("u", &[1, 0], f32, vec![]), "a dimension is 0");
    refused(&|it| it.add_tensor("u", &[usize::MAX, 4], f32, vec![]), "overflows");
    refused(&|it| it.add_tensor("u", &[33], TensorType::Q8_0, vec![0; 34]), "rows of 33");
    refused(&|it| it.add_tensor("u", &[32], TensorType::Q8_0, vec![0; 33]), "33 were given");
}
