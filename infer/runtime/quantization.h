// How a value is kept in eight bits.
#pragma once

namespace fovea::infer {

/// real = scale · (q − zero) for q in 0 … 255. scale 0: the value is not quantised, but in f32 or bf16.
struct Quantization {
  float scale = 0;
  int zero = 0;
};

}  // namespace fovea::infer
