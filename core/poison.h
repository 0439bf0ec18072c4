// For checks: fresh memory that is NaN, so that a kernel that adds to what it should overwrite, or leaves elements out,
// shows.
#pragma once

#include "core/export.h"

namespace fovea {

/// While alive, CPU memory that this thread allocates for tensors is filled with bytes 0xFF: NaN as f32, f64, bf16 and
/// f16, −1 as integers. Guards nest.
class FOVEA_API PoisonAllocations {
 public:
  PoisonAllocations();
  ~PoisonAllocations();
  PoisonAllocations(const PoisonAllocations&) = delete;
  PoisonAllocations& operator=(const PoisonAllocations&) = delete;
};

}  // namespace fovea
