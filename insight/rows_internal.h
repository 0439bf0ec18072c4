// Internal: the check that functions on rows of scores share.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace fovea::insight {

/// [N, classes], finite, N > 0, with a label in range per row where labels are given. Error{shape}, Error{usage},
/// Error{numeric}.
void check_rows(const Tensor& values, const std::vector<std::int64_t>* labels, const char* where);

}  // namespace fovea::insight
