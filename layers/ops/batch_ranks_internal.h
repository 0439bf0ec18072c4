// Batch statistics of a batch whose parts lie on several ranks.
#pragma once

#include <vector>

#include "core/distributed/communicator.h"
#include "core/tensor.h"

namespace fovea::ops {

/// `mean` and biased `variance` [C] (f32 or f64) of this rank's `rows` become those of all ranks' rows, whose number is
/// returned. With no rows here they may hold anything before. Nothing waits for a GPU.
std::int64_t merge_statistics(Communicator& ranks, Tensor& mean, Tensor& variance, std::int64_t rows);

/// Two vectors [C] of one type and device, added up over the ranks: [2C], the first, then the second.
Tensor joined_sum(Communicator& ranks, const Tensor& a, const Tensor& b);
/// The same in double on the CPU. Undefined ones count as zeros.
std::vector<double> sum_over_ranks(Communicator& ranks, const Tensor& a, const Tensor& b, std::int64_t channels);

}  // namespace fovea::ops
