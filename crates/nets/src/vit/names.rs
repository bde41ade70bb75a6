//! The spellings of one network's keys: transformers' `ViTModel` and `Dinov2Model` in files, their state dicts in memory
//! since transformers 5 (`torch.save(model.state_dict())`), and the state dicts of the original DINO and DINOv2 code. All become the field names of [`super::Vit`], which are those of `Dinov2Model`.

use super::{Architecture, VitConfig};
use crate::checkpoint::{Checkpoint, HostTensor};
use crate::error::Error;

/// Wrappers around an encoder in training checkpoints and in models with heads, in any nesting.
const PREFIXES: &[&str] =
    &["teacher.", "state_dict.", "model.", "module.", "backbone.", "vit.", "dinov2.", "dinov2_with_registers."];

/// Heads on top of an encoder, which do not belong to it.
const HEADS: &[&str] = &["pooler.", "classifier.", "decoder.", "head."];

/// Whether `key`, one of `all`, is part of the encoder: a checkpoint of a whole DINO training also holds the student,
/// the optimiser and heads.
pub(super) fn belongs_to_encoder<S: AsRef<str>>(all: &[S], key: &str) -> bool {
    let is_training_checkpoint = all.iter().any(|key| key.as_ref().starts_with("teacher."));
    if is_training_checkpoint && !key.starts_with("teacher.") {
        return false;
    }
    let name = without_prefixes(key);
    !HEADS.iter().any(|head| name.starts_with(head))
}

fn without_prefixes(key: &str) -> &str {
    let mut name = key;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// Keeps the encoder of a checkpoint, under the names of [`super::Vit`].
///
/// # Errors
/// Reading fused projections from their file, and [`Error::Mismatch`] where they do not divide by three.
pub(super) fn to_field_names(checkpoint: Checkpoint) -> Result<Checkpoint, Error> {
    let all: Vec<String> = checkpoint.keys().map(Into::into).collect();
    let renamed = checkpoint.rename(|key| belongs_to_encoder(&all, key).then(|| field_name(without_prefixes(key))));
    join_gated_layers(split_fused_projections(renamed)?)
}

/// Whether the keys are those of the original code rather than transformers'.
pub(super) fn is_original(checkpoint: &Checkpoint) -> bool {
    checkpoint.keys().any(|key| without_prefixes(key).starts_with("blocks."))
}

fn field_name(key: &str) -> String {
    match key {
        // Original code.
        "cls_token" | "mask_token" | "register_tokens" => return format!("embeddings.{key}"),
        "pos_embed" => return "embeddings.position_embeddings".into(),
        "norm.weight" => return "layernorm.weight".into(),
        "norm.bias" => return "layernorm.bias".into(),
        _ => {}
    }
    if let Some(rest) = key.strip_prefix("patch_embed.proj.") {
        return format!("embeddings.patch_embeddings.projection.{rest}");
    }
    if let Some((layer, rest)) = key.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
        let rest = replace_first(rest, "attn.proj.", "attention.output.dense.");
        let rest = replace_first(&rest, "attn.qkv.", "attention.attention.qkv.");
        let rest = replace_first(&rest, "ls1.gamma", "layer_scale1.lambda1");
        let rest = replace_first(&rest, "ls2.gamma", "layer_scale2.lambda1");
        let rest = replace_first(&rest, "mlp.w12.", "mlp.fc1.");
        return format!("encoder.layer.{layer}.{}", replace_first(&rest, "mlp.w3.", "mlp.fc2."));
    }
    let in_layer = key.strip_prefix("encoder.layer.").or_else(|| key.strip_prefix("layers."));
    if let Some((layer, rest)) = in_layer.and_then(|rest| rest.split_once('.')) {
        let rest = LAYER_NAMES
            .iter()
            .chain(MEMORY_NAMES)
            .find_map(|(file, field)| rest.strip_prefix(file).map(|rest| format!("{field}{rest}")))
            .unwrap_or_else(|| rest.into());
        return format!("encoder.layer.{layer}.{rest}");
    }
    key.into()
}

/// Within a block: the name in files of transformers and ours.
const LAYER_NAMES: &[(&str, &str)] = &[
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("mlp.weights_in.", "mlp.fc1."),
    ("mlp.weights_out.", "mlp.fc2."),
];

/// Within a block: the name in memory since transformers 5 and ours.
const MEMORY_NAMES: &[(&str, &str)] = &[
    ("attention.q_proj.", "attention.attention.query."),
    ("attention.k_proj.", "attention.attention.key."),
    ("attention.v_proj.", "attention.attention.value."),
    ("attention.o_proj.", "attention.output.dense."),
    ("mlp.down_proj.", "mlp.fc2."),
];

fn replace_first(text: &str, from: &str, to: &str) -> String {
    text.strip_prefix(from).map_or_else(|| text.into(), |rest| format!("{to}{rest}"))
}

/// The original code has queries, keys and values in one layer, stacked in this order along the first axis.
fn split_fused_projections(mut checkpoint: Checkpoint) -> Result<Checkpoint, Error> {
    let fused: Vec<String> = checkpoint.keys().filter(|key| key.contains(".qkv.")).map(Into::into).collect();
    for key in fused {
        let HostTensor { shape, values } = checkpoint.read(&key)?;
        let Some(rows) = shape.first().copied().filter(|rows| *rows > 0 && rows.is_multiple_of(3)) else {
            let problems = vec![format!("tensor `{key}` has shape {shape:?}; its first axis does not divide by 3")];
            return Err(Error::Mismatch { problems });
        };
        let mut part_shape = shape;
        part_shape[0] = rows / 3;
        let parts = values.chunks_exact((values.len() / 3).max(1));
        for (part, values) in ["query", "key", "value"].into_iter().zip(parts) {
            let tensor = HostTensor { shape: part_shape.clone(), values: values.to_vec() };
            checkpoint.insert(key.replace(".qkv.", &format!(".{part}.")), tensor);
        }
        checkpoint.remove(&key);
    }
    Ok(checkpoint)
}

/// transformers 5 has the two halves of SwiGLU's first layer apart in memory; files stack the gate on the other.
fn join_gated_layers(mut checkpoint: Checkpoint) -> Result<Checkpoint, Error> {
    let gates: Vec<String> = checkpoint.keys().filter(|key| key.contains(".mlp.gate_proj.")).map(Into::into).collect();
    for key in gates {
        let other = key.replace(".gate_proj.", ".up_proj.");
        let HostTensor { mut shape, mut values } = checkpoint.read(&key)?;
        let up = checkpoint.read(&other)?;
        if up.shape != shape || shape.is_empty() {
            let problems = vec![format!("`{key}` has shape {shape:?}, `{other}` {:?}; they must be equal", up.shape)];
            return Err(Error::Mismatch { problems });
        }
        shape[0] *= 2;
        values.extend(up.values);
        checkpoint.remove(&key);
        checkpoint.remove(&other);
        checkpoint.insert(key.replace(".gate_proj.", ".fc1."), HostTensor { shape, values });
    }
    Ok(checkpoint)
}

/// The names in files of transformers.
pub(super) fn to_file_names(checkpoint: Checkpoint, config: &VitConfig) -> Checkpoint {
    let applies = |file: &str| match config.architecture {
        Architecture::Vit => !file.starts_with("mlp."),
        _ => config.use_swiglu_ffn && file.starts_with("mlp."),
    };
    checkpoint.rename(|key| {
        let Some((layer, rest)) = key.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.')) else {
            return Some(key.into());
        };
        let rest = LAYER_NAMES
            .iter()
            .filter(|(file, _)| applies(file))
            .find_map(|(file, field)| rest.strip_prefix(field).map(|rest| format!("{file}{rest}")))
            .unwrap_or_else(|| rest.into());
        Some(format!("encoder.layer.{layer}.{rest}"))
    })
}

/// Works out the configuration of a bare state dict of the original code from its shapes (under our names). Heads leave
/// no trace in them; all published DINO and DINOv2 networks have 64 entries per head.
///
/// # Errors
/// [`Error::Mismatch`] naming what is missing, and [`Error::Field`].
pub(super) fn infer_config(checkpoint: &Checkpoint) -> Result<VitConfig, Error> {
    const HEAD_SIZE: usize = 64;
    const LAYER: &str = "encoder.layer.0";
    let shape = |key: &str, rank: usize| {
        let shape = checkpoint.shape(key).filter(|shape| shape.len() == rank).map(<[usize]>::to_vec);
        shape.ok_or_else(|| Error::Mismatch {
            problems: vec![format!(
                "there is no tensor of rank {rank} for `{key}`, which tells the size of the network"
            )],
        })
    };
    let projection = shape("embeddings.patch_embeddings.projection.weight", 4)?;
    let (hidden_size, patch_size) = (projection[0], projection[3]);
    let num_positions = shape("embeddings.position_embeddings", 3)?[1];
    let num_hidden_layers =
        (0..).take_while(|n| checkpoint.shape(&format!("encoder.layer.{n}.norm1.weight")).is_some());
    let registers = checkpoint.shape("embeddings.register_tokens").and_then(|shape| shape.get(1)).copied();
    let has_layer_scale = checkpoint.shape(&format!("{LAYER}.layer_scale1.lambda1")).is_some();
    let architecture = match (registers, has_layer_scale) {
        (Some(_), _) => Architecture::Dinov2WithRegisters,
        (None, true) => Architecture::Dinov2,
        (None, false) => Architecture::Vit,
    };
    let mlp_inputs = shape(&format!("{LAYER}.mlp.fc1.weight"), 2)?[0];
    let mlp_outputs = shape(&format!("{LAYER}.mlp.fc2.weight"), 2)?[1];
    let use_swiglu_ffn = mlp_inputs == 2 * mlp_outputs && mlp_outputs > 0;
    let config = VitConfig {
        architecture,
        hidden_size,
        num_hidden_layers: num_hidden_layers.count(),
        num_attention_heads: hidden_size / HEAD_SIZE,
        // Four in all published networks; SwiGLU's width is two thirds of it.
        intermediate_size: if use_swiglu_ffn { 4 * hidden_size } else { mlp_inputs },
        layer_norm_eps: 1e-6,
        image_size: num_positions.saturating_sub(1).isqrt() * patch_size,
        patch_size,
        qkv_bias: checkpoint.shape(&format!("{LAYER}.attention.attention.query.bias")).is_some(),
        layerscale_value: 1.0,
        use_swiglu_ffn,
        use_mask_token: architecture != Architecture::Vit,
        num_register_tokens: registers.unwrap_or(0),
    };
    config.validate()?;
    Ok(config)
}
