// The checksum under which data/make_*.py keep values.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "core/tensor.h"

/// FNV-1a 64 of a tensor's bytes, in hexadecimal.
inline std::string fnv1a64(const fovea::Tensor& tensor) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto* bytes = static_cast<const std::uint8_t*>(tensor.view().data);
  for (std::size_t i = 0; i < tensor.nbytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}
