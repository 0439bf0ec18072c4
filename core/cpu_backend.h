// The CPU's memory: a caching allocator with 64-byte alignment. Internal to core.
#pragma once

#include <cstddef>

#include "core/device.h"

namespace fovea::detail {

/// Never destroyed. Thread-safe.
DeviceBackend& cpu_backend();
/// What a block of so many bytes takes where it is kept by size: multiples of 1/8 of the power of two below, so that at
/// most 12.5 % is wasted.
std::size_t size_class(std::size_t bytes);

}  // namespace fovea::detail
