// The library's version, as in CMakeLists.txt (a test compares them).
#pragma once

namespace fovea {
inline constexpr const char* kVersion = "0.1.0";
}
