// Batch statistics of a batch whose parts lie on several ranks.
#pragma once

#include <vector>

#include "core/distributed/communicator.h"
#include "core/tensor.h"

namespace fovea::ops {

/// `mean` and biased `variance` [C] (CPU, f32 or f64) of this rank's `rows` become those of all ranks' rows, whose
/// number is returned. With no rows here they may hold anything before.
double merge_statistics(Communicator& ranks, Tensor& mean, Tensor& variance, std::int64_t rows);

/// Two vectors [C] of one type, added up over the ranks: the first, then the second. Undefined ones count as zeros.
std::vector<double> sum_over_ranks(Communicator& ranks, const Tensor& a, const Tensor& b, std::int64_t channels);

}  // namespace fovea::ops
