// Makes every op of layers/ops known by name, so that model files can be read.
#pragma once

#include "core/export.h"

namespace fovea {

/// Registers the factories of all ops. Explicit, because static objects vanish from static libraries; may be called any
/// number of times, from any thread.
FOVEA_API void register_ops();

}  // namespace fovea
