// Weights given by a formula instead of a file: what reference results of whole networks are computed with, so that no
// weights need to be stored. tests/ and `fovea run --formula` use it.
#pragma once

#include <string>

#include "models/weights/weight_file.h"

namespace fovea::weights {

/// The double in [0, 1) of (name, i): splitmix64 of fnv1a64(name) + i, its upper 24 bits over 2^24.
FOVEA_API double formula_uniform(std::string_view name, std::uint64_t i);

/// A list of tensors: lines `name kind shape offset scale`, separated by tabs; shape "3,3,3,16" or "scalar"; lines
/// beginning with # are comments. Element i is float(offset + scale·(2·uniform(name, i) − 1)); kind "count" gives
/// integer zeros. Error{format} naming the line.
FOVEA_API WeightFile read_formula(const std::string& path);

/// f32 [1, size, size, channels]: low + (high − low)·uniform(name, i), rounded once. Reference inputs are
/// (“input”, −1, 1).
FOVEA_API Tensor formula_input(std::string_view name, int size, int channels = 3, double low = -1, double high = 1);

}  // namespace fovea::weights
