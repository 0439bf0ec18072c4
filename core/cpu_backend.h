// The CPU's memory: a caching allocator with 64-byte alignment. Internal to core.
#pragma once

#include "core/device.h"

namespace fovea::detail {

/// Never destroyed. Thread-safe.
DeviceBackend& cpu_backend();

}  // namespace fovea::detail
