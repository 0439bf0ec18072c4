// Parts of a whole, as metrics give them. Internal.
#pragma once

#include <cstdint>
#include <limits>

namespace fovea {

/// NaN where there is no whole.
inline double share(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace fovea
