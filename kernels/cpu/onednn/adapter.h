// oneDNN (2.6 to 3.x) behind plain functions: convolution in every direction and with any groups, dense layers and
// matrix products. Its types stay in this folder, the differences between its versions in versions.h. Absent with
// -DFOVEA_ONEDNN=OFF: callers guard their list entries with #ifdef FOVEA_ONEDNN.
#pragma once

#include "kernels/conv2d.h"
#include "kernels/problems.h"

namespace fovea::kernels::onednn {

const char* conv2d_declines(const Conv2dProblem&);
void conv2d_run(const Conv2dProblem&);

const char* matmul_declines(const MatmulProblem&);
void matmul_run(const MatmulProblem&);
const char* dense_declines(const DenseProblem&);
void dense_run(const DenseProblem&);

/// Primitives kept, at most kMaxPrimitives; for tests.
inline constexpr std::size_t kMaxPrimitives = 256;
FOVEA_API std::size_t cached_primitives();
/// "2.6.3"
FOVEA_API const char* version();

}  // namespace fovea::kernels::onednn
