// How much memory this process has and may still take.
#pragma once

#include <cstdint>
#include <string>

#include "core/export.h"

namespace fovea {

/// Bytes that this process may still take: the least of what the system has available and what its control groups (v1
/// or v2) leave, not counting cached files, which give way. 0 where nothing can be told.
/// @param root what stands before /proc and /sys, for tests
FOVEA_API std::int64_t available_memory(const std::string& root = "");

/// Resident memory of this process; 0 where that cannot be told.
FOVEA_API std::int64_t resident_memory();
/// The most that was ever resident.
FOVEA_API std::int64_t peak_resident_memory();

}  // namespace fovea
