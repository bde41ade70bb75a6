//! The settings of the UNet: what the public `config.json` files say, what is refused, and in which words.

use nets::unet::{OneOrEach, UNetConfig};

/// `runwayml/stable-diffusion-v1-5/unet/config.json`, all of it.
const STABLE_DIFFUSION_1_5: &str = r#"{
  "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
  "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false, "cross_attention_dim": 768,
  "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
  "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
  "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
}"#;

/// What differs in Stable Diffusion 2.1.
const STABLE_DIFFUSION_2_1: &str = r#"{
  "_class_name": "UNet2DConditionModel", "_name_or_path": "somewhere", "attention_head_dim": [5, 10, 20, 20],
  "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024, "dual_cross_attention": false,
  "num_class_embeds": null, "only_cross_attention": false, "sample_size": 96, "upcast_attention": true,
  "use_linear_projection": true, "resnet_time_scale_shift": "default", "dropout": 0, "mid_block_only_cross_attention": null
}"#;

#[test]
fn the_default_is_stable_diffusion_1_5() {
    assert_eq!(UNetConfig::from_json(STABLE_DIFFUSION_1_5).unwrap(), UNetConfig::default());
}

#[test]
fn stable_diffusion_2_1_differs_where_it_should() {
    let expected = UNetConfig {
        sample_size: Some(OneOrEach::One(96)),
        attention_head_dim: OneOrEach::Each(vec![5, 10, 20, 20]),
        cross_attention_dim: 1024,
        upcast_attention: true,
        use_linear_projection: true,
        ..UNetConfig::default()
    };
    let config = UNetConfig::from_json(STABLE_DIFFUSION_2_1).unwrap();
    assert_eq!(config, expected);
    config.validate().unwrap();
}

#[test]
fn a_file_without_settings_has_the_defaults_of_diffusers() {
    let config = UNetConfig::from_json("{}").unwrap();
    assert_eq!(config, UNetConfig { cross_attention_dim: 1280, ..UNetConfig::default() });
}

#[test]
fn written_settings_read_back_equal() {
    for config in [UNetConfig::default(), UNetConfig { use_linear_projection: true, ..UNetConfig::default() }] {
        assert_eq!(UNetConfig::from_json(&config.to_json().unwrap()).unwrap(), config);
        config.validate().unwrap();
    }
}

#[test]
fn settings_that_would_change_the_network_are_refused_by_name() {
    for (settings, part) in [
        (r#"{"class_embed_type": "timestep"}"#, r#"`class_embed_type` is "timestep", but only null is supported"#),
        (r#"{"num_class_embeds": 1000}"#, "`num_class_embeds` is 1000"),
        (r#"{"dual_cross_attention": true}"#, "`dual_cross_attention` is true, but only false"),
        (r#"{"dropout": 0.1}"#, "`dropout` is 0.1"),
        (r#"{"resnet_time_scale_shift": "scale_shift"}"#, "`resnet_time_scale_shift`"),
        (r#"{"time_embedding_type": "fourier"}"#, "`time_embedding_type`"),
        (r#"{"invented": 3}"#, "`invented`"),
        (r#"{"act_fn": "mish"}"#, "`mish`"),
        (r#"{"down_block_types": ["AttnDownBlock2D"]}"#, "`AttnDownBlock2D`"),
        (r#"{"mid_block_type": "UNetMidBlock2D"}"#, "`UNetMidBlock2D`"),
        (r#"{"_class_name": "AutoencoderKL"}"#, "`AutoencoderKL`"),
        (r#"{"in_channels": "#, "cannot be read"),
    ] {
        let message = UNetConfig::from_json(settings).unwrap_err().to_string();
        assert!(message.contains(part), "{settings}: {message}");
    }
}

#[test]
fn impossible_combinations_are_refused_in_a_sentence() {
    type Change = fn(&mut UNetConfig);
    let cases: [(Change, &str); 15] = [
        (|config| config.block_out_channels = vec![320, 640], "`down_block_types` has 4 entries"),
        (|config| config.block_out_channels = vec![], "`down_block_types` has 4 entries"),
        (|config| config.up_block_types.truncate(3), "`up_block_types` has 3 entries"),
        (|config| config.block_out_channels[1] = 650, "650 in `block_out_channels` is not divisible by 32"),
        (|config| config.attention_head_dim = OneOrEach::One(7), "not divisible by 7 attention heads"),
        (|config| config.attention_head_dim = OneOrEach::Each(vec![8]), "`attention_head_dim` has 1 entries"),
        (|config| config.layers_per_block = OneOrEach::Each(vec![2, 2, 0, 2]), "`layers_per_block` is 0"),
        (|config| config.only_cross_attention = OneOrEach::Each(vec![true]), "`only_cross_attention` has 1"),
        (|config| config.norm_num_groups = 0, "`norm_num_groups` is 0"),
        (|config| config.in_channels = 0, "`in_channels` is 0"),
        (|config| config.conv_in_kernel = 2, "`conv_in_kernel` is 2; it must be odd"),
        (|config| config.downsample_padding = 2, "`downsample_padding` is 2"),
        (|config| config.freq_shift = 160, "`freq_shift` is 160"),
        (|config| config.norm_eps = 0.0, "`norm_eps` is 0"),
        (|config| config.mid_block_scale_factor = f64::NAN, "`mid_block_scale_factor` is NaN"),
    ];
    for (change, part) in cases {
        let mut config = UNetConfig::default();
        change(&mut config);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
