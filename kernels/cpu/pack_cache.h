// Weights repacked for a kernel, kept while they do not change: keyed by the storage's id and version, bounded,
// thread-safe. Only for calls where packing would cost more than a few percent (few rows per weight): large ones pack
// into scratch.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/view.h"

namespace fovea::kernels {

/// Who packed, from which memory, and into what layout. Fields not needed are 0.
struct PackKey {
  const char* kind = "";  ///< a string literal: compared by address
  const void* data = nullptr;
  std::uint64_t storage_id = 0;
  std::array<std::int64_t, 14> layout{};
  friend bool operator==(const PackKey&, const PackKey&) = default;
};

/// Whether a view can be cached: memory of a tensor (views of raw memory carry no version).
inline bool cacheable(const ConstView& view) { return view.storage_id != 0; }

using PackFn = void (*)(void* context, float* packed);
/// The packed weights for `key` at `version`: kept from before, or made by fn(context, memory of `floats` floats). A
/// new version replaces the old one. The least recently used go when more than pack_cache_limit() bytes are kept.
std::shared_ptr<const float> cached_pack(const PackKey& key, std::uint64_t version, std::size_t floats, PackFn fn,
                                         void* context);

template <class Fn>
std::shared_ptr<const float> cached_pack(const PackKey& key, std::uint64_t version, std::size_t floats, const Fn& fn) {
  const auto call = [](void* context, float* packed) { (*static_cast<const Fn*>(context))(packed); };
  return cached_pack(key, version, floats, call, const_cast<Fn*>(&fn));
}

constexpr std::size_t pack_cache_limit() { return std::size_t{64} << 20; }
struct PackCacheStats {
  std::size_t entries = 0, bytes = 0;
  std::uint64_t hits = 0, misses = 0;
};
FOVEA_API PackCacheStats pack_cache_stats();
FOVEA_API void clear_pack_cache();

}  // namespace fovea::kernels
