// What memory bounds: one file of bench_kernels, beside kernels_bench.cc.
#pragma once

#include "bench/options.h"
#include "core/tensor.h"

namespace fovea::bench {

/// Registers the benchmarks of batch norm, activations, pooling, softmax, sums and optimizers; false for another
/// kernel.
bool add_memory_bound(const Options& options, const NamedShape& shape);

/// f32, evenly spread, the same at each call.
Tensor random_tensor(const Shape& shape, double low = -1, double high = 1);

}  // namespace fovea::bench
