// How long a fresh process takes to its first answer, and what it then holds. Internal to tools/.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"

namespace fovea::tools {

struct ColdStart {
  double ms = 0;           ///< from before the process began to its first answer: the least of a few processes
  double resident_mb = 0;  ///< resident then: program, libraries and everything else
  double peak_mb = 0;      ///< the highest until then
};

/// Starts this program a few times with the network in `path`. The file is in the system's cache by the second time.
ColdStart measure_cold_start(const std::string& path, std::int64_t batch, int size, DType dtype, int threads);
/// What such a process does. size 0: the network's own.
int answer_once(const std::string& path, std::int64_t batch, int size, DType dtype);

/// Resident now; the highest so far.
double resident_mb();
double peak_resident_mb();

}  // namespace fovea::tools
