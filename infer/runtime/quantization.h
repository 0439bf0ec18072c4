// How a value is kept in eight bits.
#pragma once

namespace fovea::infer {

/// real = scale · (q − zero) for q in 0 … 255. scale 0: the value is not quantised, but in f32 or bf16.
struct Quantization {
  float scale = 0;
  int zero = 0;
};

/// Scales of quantised values lie between these: their products and quotients are far from the ends of f32.
inline constexpr float kLeastScale = 1e-12f, kLargestScale = 1e12f;

}  // namespace fovea::infer
