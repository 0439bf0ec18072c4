// The devices of this machine, and how a program gets hold of a GPU.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/graph/host_fallback.h"  // AllowHostFallback

namespace fovea {

struct DeviceInfo {
  Device device;
  std::string name;         ///< "NVIDIA H100 80GB HBM3", or the CPU's
  std::string capability;   ///< GPUs: compute capability, "9.0"; CPUs: the SIMD instruction set in use, "AVX3"
  int units = 0;            ///< GPUs: multiprocessors; CPUs: threads
  std::int64_t memory = 0;  ///< bytes in all
  std::int64_t free = 0;    ///< bytes free now
};

/// The CPU and every GPU that can be used. Never throws.
FOVEA_API std::vector<DeviceInfo> devices();

/// Empty where a GPU can be used; else why there is none: the build has no CUDA, no driver, no GPU.
FOVEA_API std::string why_no_gpu();

/// A GPU, ready for tensors: model.to(gpu()), tensor.to(gpu()). Work on it is queued and runs in order; reading values
/// waits for it. Error{device} saying why where there is none of that number.
FOVEA_API Device gpu(int index = 0);

/// "cpu", "cuda" (the first GPU) or "cuda:1". Error{usage} for other text, Error{device} as gpu().
FOVEA_API Device device_from(std::string_view text);

/// Empty where training in `half` (bf16 or f16) is possible there; otherwise why not.
FOVEA_API std::string why_no_half(Device device, DType half);

/// Waits until all work queued on the device is done; failures of that work are thrown here. For timings.
FOVEA_API void synchronize(Device device);

/// While it lives, products and convolutions of f32 on GPUs may round their operands to TF32 (10 bits of fraction),
/// which tensor cores multiply several times faster. Off by default: f32 gives the CPU's results up to rounding. Per
/// thread.
class FOVEA_API AllowTf32 {
 public:
  explicit AllowTf32(bool allow = true);
  ~AllowTf32();
  AllowTf32(const AllowTf32&) = delete;
  AllowTf32& operator=(const AllowTf32&) = delete;
  static bool allowed();

 private:
  bool outer_;
};

/// While it lives, a convolution on a GPU measures the first few plans of cuDNN at its first call and keeps the
/// fastest; otherwise cuDNN's heuristics choose. Off by default: what is chosen by timing may have other bits the next
/// time. Per thread.
class FOVEA_API Autotune {
 public:
  explicit Autotune(bool on = true);
  ~Autotune();
  Autotune(const Autotune&) = delete;
  Autotune& operator=(const Autotune&) = delete;
  static bool enabled();

 private:
  bool outer_;
};

}  // namespace fovea
