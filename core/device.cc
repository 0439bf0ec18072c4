#include "core/device.h"

#include <array>
#include <atomic>

#include "core/cpu_backend.h"
#include "core/error.h"

namespace fovea {

std::string Device::to_string() const {
  switch (type) {
    case DeviceType::cpu: return "cpu";
    case DeviceType::meta: return "meta";
    case DeviceType::cuda: return str("cuda:", index);
  }
  return "unknown";
}

bool DeviceBackend::convert(const void*, DType, void*, DType, std::int64_t, int) { return false; }

namespace {

/// Storage without memory.
class MetaBackend final : public DeviceBackend {
 public:
  void* allocate(std::size_t, int) override { return nullptr; }
  void deallocate(void*, std::size_t, int) noexcept override {}
  void zero(void*, std::size_t, int) override {}
  void copy(void*, const void*, std::size_t, int) override {}
  void copy_from_host(void*, const void*, std::size_t, int) override {}
  void copy_to_host(void*, const void*, std::size_t, int) override {
    throw Error(ErrorKind::device, "copy", "a tensor on the meta device has a shape but no data");
  }
  void accumulate(void*, const void*, std::int64_t, DType, int) override {}
  MemoryStats stats(int) const override { return {}; }
  void reset_peak(int) override {}
  void release_cache(int) override {}
};

std::array<std::atomic<DeviceBackend*>, 3>& backends() {
  // Never destroyed: tensors in static storage may outlive main.
  static auto* table = [] {
    auto* made = new std::array<std::atomic<DeviceBackend*>, 3>{};
    (*made)[static_cast<std::size_t>(DeviceType::cpu)] = &detail::cpu_backend();
    (*made)[static_cast<std::size_t>(DeviceType::meta)] = new MetaBackend;
    return made;
  }();
  return *table;
}

}  // namespace

DeviceBackend& backend(Device device) {
  DeviceBackend* found = backends()[static_cast<std::size_t>(device.type)].load(std::memory_order_acquire);
  if (!found) {
    throw Error(ErrorKind::device, device.to_string(), "this device is not available in this build or on this machine",
                "use the CPU");
  }
  return *found;
}

void set_backend(DeviceType type, DeviceBackend* made) {
  backends()[static_cast<std::size_t>(type)].store(made, std::memory_order_release);
}

MemoryStats memory_stats(Device device) { return backend(device).stats(device.index); }
void reset_peak_memory(Device device) { backend(device).reset_peak(device.index); }
void release_cached_memory(Device device) { backend(device).release_cache(device.index); }

}  // namespace fovea
