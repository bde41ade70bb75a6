//! Names of devices on the command line: `cpu`, `cuda:0`, `vulkan:0`, `metal`, `rocm:0`, `wgpu`.

use anyhow::{Context, Result, bail};
use burn::tensor::Device;

/// The device of that name.
///
/// # Errors
/// An unknown name, or a kind of device that this program was built without.
pub fn parse(name: &str) -> Result<Device> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => {
            let index = index.parse::<usize>().with_context(|| {
                format!("`{index}` in device `{name}` is not a number; write for example `{kind}:0`")
            })?;
            (kind, Some(index))
        }
        None => (name, None),
    };
    match kind {
        "cpu" => Ok(Device::flex()),
        "cuda" => cuda(index),
        "rocm" => rocm(index),
        "vulkan" => vulkan(index),
        "metal" => metal(index),
        "wgpu" => wgpu(index),
        _ => bail!("there is no device `{name}`; choose cpu, cuda:N, vulkan:N, metal, rocm:N or wgpu"),
    }
}

/// Without an index Burn chooses, which finds integrated and software devices too.
#[cfg(any(feature = "vulkan", feature = "metal", feature = "wgpu"))]
fn kind_of(index: Option<usize>) -> burn::tensor::DeviceKind {
    index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu)
}

macro_rules! optional {
    ($kind:ident, $feature:literal, $index:ident => $device:expr) => {
        #[cfg(feature = $feature)]
        fn $kind($index: Option<usize>) -> Result<Device> {
            Ok($device)
        }
        #[cfg(not(feature = $feature))]
        fn $kind(_index: Option<usize>) -> Result<Device> {
            bail!(
                "this program was built without {}; build it with `cargo build --release --features {}`",
                $feature,
                $feature
            )
        }
    };
}

optional!(cuda, "cuda", index => Device::cuda(index.unwrap_or(0)));
optional!(rocm, "rocm", index => Device::rocm(index.unwrap_or(0)));
optional!(vulkan, "vulkan", index => Device::vulkan(kind_of(index)));
optional!(metal, "metal", index => Device::metal(kind_of(index)));
optional!(wgpu, "wgpu", index => Device::wgpu(kind_of(index)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_devices_and_indices_are_refused_with_a_remedy() {
        assert!(parse("cpu").is_ok());
        assert!(parse("gpu").unwrap_err().to_string().contains("choose cpu, cuda:N"));
        assert!(parse("cuda:x").unwrap_err().to_string().contains("cuda:0"));
    }
}
