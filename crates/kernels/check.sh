#!/usr/bin/env bash
# Tests of this crate that the usual run cannot do: under AddressSanitizer, and on 64-bit ARM.
#
#   crates/kernels/check.sh sanitizer   memory errors of the unsafe blocks; some minutes to build
#   crates/kernels/check.sh neon        in qemu's user emulation; needs rust-std for aarch64-unknown-linux-gnu,
#                                       aarch64-linux-gnu-gcc and qemu-aarch64
#
# RUSTC  a compiler whose standard library exists for ARM [rustc]
set -euo pipefail
cd "$(dirname "$0")/../.."

case "${1:-}" in
sanitizer)
    # The switch is unstable; the runtime comes with the stable toolchain.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0
    cargo test --locked -p dino-diffusion-kernels --lib --target x86_64-unknown-linux-gnu --target-dir target/sanitizer
    ;;
neon)
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
    # Linked statically: threads of a dynamic glibc never start under some versions of qemu.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
    cargo test --locked -p dino-diffusion-kernels --lib --target aarch64-unknown-linux-gnu --target-dir target/neon
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
