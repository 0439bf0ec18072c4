// What our CUDA code asks of the CUDA runtime: failures as fovea::Error, one stream per GPU, and scratch memory in that
// stream's order. Plain C++: files that launch no kernel need no nvcc.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/device.h"
#include "kernels/devices.h"

namespace fovea::kernels::cuda {

/// Most GPUs of one machine that are looked at.
inline constexpr int kMaxDevices = 64;
/// The hint of errors for an exhausted GPU.
inline constexpr const char* kOutOfMemory = "use a smaller batch, or free tensors that are no longer needed";

/// Error{device} (Error{memory} for an exhausted GPU) naming `what`, unless the call succeeded.
void check(cudaError_t status, std::string_view what);
/// check() of the launch just made.
void check_launch(const char* kernel);

/// How many GPUs can be used, and why there is none. Asked once; never throws.
struct Availability {
  int count = 0;
  std::string reason;  ///< empty where count > 0
};
const Availability& availability();

/// Makes the GPU current on this thread and returns the stream that all its work is ordered by. Created on first use.
cudaStream_t stream(int index);
inline cudaStream_t stream(Device device) { return stream(device.index); }
/// Multiprocessors of a GPU, for choosing grids.
int multiprocessors(int index);

/// The first number of a GPU's compute capability.
int capability_major(int index);

/// For devices().
DeviceInfo device_info(int index);
/// Waits for the GPU's stream.
void synchronize(int index);

/// Memory that lives until the work queued so far, and what is queued while this object lives, is done with it.
class Scratch {
 public:
  Scratch(std::size_t bytes, int index);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data() const { return data_; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  int index_;
};

/// Copies between host and GPU in the stream's order; `to_host` waits until the values are there.
void copy_to_device(void* to, const void* from, std::size_t bytes, int index);
void copy_to_host(void* to, const void* from, std::size_t bytes, int index);

/// Registers the GPU backend with core (once).
void install_backend();

}  // namespace fovea::kernels::cuda
