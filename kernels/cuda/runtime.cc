#include "kernels/cuda/runtime.h"

#include <array>
#include <atomic>
#include <mutex>

#include "core/error.h"
#include "kernels/cuda/graph.h"

namespace fovea::kernels::cuda {
namespace {

struct PerDevice {
  std::once_flag once;
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
};

PerDevice& per_device(int index) {
  // Never destroyed: tensors in static storage may outlive main, and the driver may be gone by then.
  static auto* all = new std::array<PerDevice, kMaxDevices>;
  return (*all)[static_cast<std::size_t>(index)];
}

Availability ask() {
  Availability a;
  int driver = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    a.reason = "no NVIDIA driver is loaded";
    cudaGetLastError();
    return a;
  }
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    a.reason = status == cudaErrorInsufficientDriver
                   ? str("the driver (CUDA ", driver / 1000, ".", driver % 1000 / 10,
                         ") is older than this build's CUDA ", CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10)
                   : str("the driver sees no GPU", status == cudaSuccess ? "" : ": ",
                         status == cudaSuccess ? "" : cudaGetErrorString(status));
    cudaGetLastError();  // a failure is kept and would be told of the next call
    return a;
  }
  a.count = count < kMaxDevices ? count : kMaxDevices;
  return a;
}

}  // namespace

void check(cudaError_t status, std::string_view what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(memory ? ErrorKind::memory : ErrorKind::device, what,
              str("CUDA says ", cudaGetErrorName(status), ": ", cudaGetErrorString(status)),
              memory ? kOutOfMemory : "");
}

void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

const Availability& availability() {
  static const Availability asked = ask();
  return asked;
}

cudaStream_t stream(int index) {
  const Availability& a = availability();
  if (index < 0 || index >= a.count) {
    throw Error(
        ErrorKind::device, str("cuda:", index),
        a.count == 0 ? str("there is no GPU to use: ", a.reason) : str("there are ", a.count, " GPUs, counted from 0"),
        "`fovea devices` lists what this machine has");
  }
  int current = -1;
  check(cudaGetDevice(&current), "cudaGetDevice");
  if (current != index) check(cudaSetDevice(index), "cudaSetDevice");
  PerDevice& d = per_device(index);
  std::call_once(d.once, [&] {
    check(cudaStreamCreateWithFlags(&d.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaDeviceGetAttribute(&d.multiprocessors, cudaDevAttrMultiProcessorCount, index), "cudaDeviceGetAttribute");
  });
  const Recording* const recorded = recording(index);
  return recorded && recorded->capture ? recorded->capture : d.stream;
}

int multiprocessors(int index) {
  stream(index);
  return per_device(index).multiprocessors;
}

void synchronize(int index) { check(cudaStreamSynchronize(stream(index)), "work on the GPU"); }

int capability_major(int index) {
  int major = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index), "cudaDeviceGetAttribute");
  return major;
}

DeviceInfo device_info(int index) {
  DeviceInfo info;
  info.device = {DeviceType::cuda, index};
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) {
    cudaGetLastError();
    return info;
  }
  info.name = properties.name;
  info.capability = str(properties.major, ".", properties.minor);
  info.units = properties.multiProcessorCount;
  info.memory = static_cast<std::int64_t>(properties.totalGlobalMem);
  int current = 0;
  std::size_t free = 0, total = 0;
  if (cudaGetDevice(&current) == cudaSuccess && cudaSetDevice(index) == cudaSuccess &&
      cudaMemGetInfo(&free, &total) == cudaSuccess)
    info.free = static_cast<std::int64_t>(free);
  cudaSetDevice(current);
  cudaGetLastError();
  return info;
}

Scratch::Scratch(std::size_t bytes, int index) : index_(index) {
  data_ = backend({DeviceType::cuda, index}).allocate(bytes, index);
}
Scratch::~Scratch() { backend({DeviceType::cuda, index_}).deallocate(data_, 0, index_); }

}  // namespace fovea::kernels::cuda
