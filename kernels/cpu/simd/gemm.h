// Matrix products and dense layers from the register tiles of panels.h.
#pragma once

#include "kernels/problems.h"

namespace fovea::kernels::simd {

const char* matmul_declines(const MatmulProblem&);
void matmul_run(const MatmulProblem&);
const char* dense_declines(const DenseProblem&);
void dense_run(const DenseProblem&);

}  // namespace fovea::kernels::simd
