// Where a tensor lives. `meta` runs shapes without data: capture, summaries and dry runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "core/export.h"

namespace fovea {

enum class DeviceType : std::uint8_t { cpu, cuda, meta };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;

  friend bool operator==(const Device&, const Device&) = default;
  /// "cpu", "cuda:0", "meta".
  FOVEA_API std::string to_string() const;
};

inline constexpr Device kCpu{DeviceType::cpu, 0};
inline constexpr Device kMeta{DeviceType::meta, 0};

/// Counters of one device's allocator, in bytes (of user data, not of rounding).
struct MemoryStats {
  std::int64_t current = 0;             ///< held by live storages
  std::int64_t peak = 0;                ///< highest `current` since the last reset
  std::int64_t cached = 0;              ///< kept for reuse, not held by any storage
  std::int64_t allocations = 0;         ///< how often a storage was allocated
  std::int64_t system_allocations = 0;  ///< how often the cache had to ask the system
};

/// What a device must offer so that tensors can live on it. A backend (CUDA) registers its own; the CPU's and meta's
/// are built in.
class FOVEA_API DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;
  /// 64-byte aligned memory, uninitialised. Throws Error{memory}. `bytes` may be 0 (result may be null).
  virtual void* allocate(std::size_t bytes, int index) = 0;
  virtual void deallocate(void* data, std::size_t bytes, int index) noexcept = 0;
  virtual void zero(void* data, std::size_t bytes, int index) = 0;
  /// Copies within this device.
  virtual void copy(void* to, const void* from, std::size_t bytes, int index) = 0;
  virtual void copy_from_host(void* to, const void* from, std::size_t bytes, int index) = 0;
  virtual void copy_to_host(void* to, const void* from, std::size_t bytes, int index) = 0;
  /// to[i] += from[i]: how the tape sums gradients. f32 and f64; a GPU also adds bf16 and f16, the CPU bf16.
  virtual void accumulate(void* to, const void* from, std::int64_t count, DType dtype, int index) = 0;
  /// Writes `from` in another element type, rounding to nearest even. false: that is done on the CPU.
  virtual bool convert(const void* from, DType dtype, void* to, DType to_dtype, std::int64_t count, int index);
  virtual MemoryStats stats(int index) const = 0;
  virtual void reset_peak(int index) = 0;
  /// Gives cached memory back to the system.
  virtual void release_cache(int index) = 0;
};

/// The backend of a device; Error{device} when none is registered ("this build has no CUDA").
FOVEA_API DeviceBackend& backend(Device device);
/// Registers (or replaces) a backend; it must outlive every tensor.
FOVEA_API void set_backend(DeviceType type, DeviceBackend* backend);

FOVEA_API MemoryStats memory_stats(Device device = kCpu);
FOVEA_API void reset_peak_memory(Device device = kCpu);
FOVEA_API void release_cached_memory(Device device = kCpu);

}  // namespace fovea
