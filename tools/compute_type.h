// --dtype of the commands that answer: what compiled inference computes in. Internal to tools/.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/dtype.h"

namespace fovea::tools {

inline void add_compute_type(CLI::App& command, std::string& dtype) {
  command
      .add_option("--dtype", dtype,
                  "f32, or bf16: about 1.8 times as fast where the CPU has AVX-512 BF16 (elsewhere it is f32), and "
                  "logits rounded to 8 bits on their way; on a GPU also f16, which rounds to 11")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->capture_default_str();
}
/// Of "f32", "bf16", "f16" and "int8".
inline DType compute_type(const std::string& dtype) {
  return dtype == "int8" ? DType::i8 : dtype == "bf16" ? DType::bf16 : dtype == "f16" ? DType::f16 : DType::f32;
}

}  // namespace fovea::tools
