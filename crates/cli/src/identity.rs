//! What a kept reply depends on beside its request: the model's bytes, and the arithmetic on them.

use std::io;

use brisk_formats::GgufFile;
use brisk_kernels::{Cpu, KvType};

/// Bytes for the gateway's partition of its response cache.
///
/// Instructions of another level add in another order, keys and values of another type are rounded in
/// another place, and a rounding may turn a reply. A cache that
/// does not outlive the process holds the replies of one model alone, so its bytes are hashed only
/// where `is_shared`.
pub(crate) fn identity(
    file: &GgufFile,
    cpu: Cpu,
    kv_type: KvType,
    is_shared: bool,
) -> io::Result<Vec<u8>> {
    let mut hasher = blake3::Hasher::new();
    if is_shared {
        for (key, value) in file.metadata().iter() {
            hash_part(&mut hasher, format!("{key} = {value:?}").as_bytes());
        }
        for tensor in file.tensors() {
            hash_part(&mut hasher, format!("{tensor:?}").as_bytes());
            hash_part(&mut hasher, &file.map_data(tensor)?);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let digest = hasher.finalize();
    Ok(format!("brisk {version}, {cpu}, {kv_type}, {digest}").into_bytes())
}

fn hash_part(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use brisk_formats::{GgufWriter, TensorType, Value};
    use brisk_kernels::CpuLevel;

    use super::*;

    fn file(name: &str, weight: f32) -> GgufFile {
        let mut writer = GgufWriter::new();
        writer.add_metadata("general.name", Value::String(name.to_owned())).expect("a new key");
        let weight = weight.to_le_bytes().to_vec();
        writer.add_tensor("weight", &[1], TensorType::F32, weight).expect("a new tensor");
        let mut bytes = Vec::new();
        writer.write_to(&mut bytes).expect("a vector takes all bytes");
        GgufFile::from_bytes(Cow::Owned(bytes)).expect("a small file")
    }

    #[test]
    fn another_model_or_arithmetic_is_another_identity() {
        let of = |file: &GgufFile, cpu| identity(file, cpu, KvType::F16, true).expect("mapped");
        let base = of(&file("a", 1.0), Cpu::detect());
        assert_eq!(base, of(&file("a", 1.0), Cpu::detect()));
        assert_ne!(base, of(&file("b", 1.0), Cpu::detect()));
        assert_ne!(base, of(&file("a", 2.0), Cpu::detect()));
        let reference = Cpu::forced(CpuLevel::Reference).expect("every processor has it");
        assert_ne!(base, of(&file("a", 1.0), reference));
        let q8_0 = identity(&file("a", 1.0), Cpu::detect(), KvType::Q8_0, true);
        assert_ne!(base, q8_0.expect("mapped"));
    }
}
